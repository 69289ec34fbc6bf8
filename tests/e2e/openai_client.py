"""The real openai package, fetched once with pip into $MOLORA_CACHE/openai-client (70 MB)."""
import fcntl
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

PACKAGES = pathlib.Path(__file__).with_name("openai_client.txt")
CACHE = pathlib.Path(os.environ.get("MOLORA_CACHE", pathlib.Path.home() / ".cache" / "molora"))
# What pip says where there is no network at all; anything else that goes wrong is a failure.
NO_NETWORK = ("NewConnectionError", "NameResolutionError", "Network is unreachable", "Name or service not known",
              "Temporary failure in name resolution", "ConnectTimeoutError")


def fetch(folder):
    """Makes a virtual environment with the packages."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
    done = subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check",
                           "--only-binary=:all:", "-r", PACKAGES], capture_output=True, text=True)
    if done.returncode == 0:
        shutil.copy(PACKAGES, folder / "complete")
        return
    words = done.stdout + done.stderr
    if any(word in words for word in NO_NETWORK):
        print("NOT TESTED: no network to fetch the openai package from", file=sys.stderr)
        raise unittest.SkipTest("no network to fetch the openai package from")
    raise RuntimeError(f"pip cannot install the packages of {PACKAGES}:\n{words}")


def import_openai():
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"openai-client-{sys.version_info[0]}.{sys.version_info[1]}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists() or complete.read_bytes() != PACKAGES.read_bytes():
            fetch(folder)
    sys.path[:0] = map(str, folder.glob("lib/python*/site-packages"))
    return importlib.import_module("openai")

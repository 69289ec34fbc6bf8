#!/usr/bin/env python3
"""Runs the steps of a Dockerfile in plain Debian chroots, where there is no Docker: the same files, commands, user and
environment, without layers and without an image at the end. Needs root and mmdebstrap.

usage: run_dockerfile.py [--keep FOLDER] [--mount HOST:PATH]... DOCKERFILE CONTEXT [CHECK...]

Each CHECK is a command of sh, run in the last stage as its user, in its working folder. COPY sees the files of CONTEXT
that git knows. A FROM other than Debian 12, and any instruction, flag or variable form that is not
understood here, is refused: nothing is skipped. --mount: a folder that all commands see, as `docker build` has cache
mounts. --keep: where the chroots are made, and stay.
"""
import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

BASES = {"debian:12", "debian:12-slim"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Refused(Exception):
    """The Dockerfile says something that this program does not do."""


def instructions(text):
    """[(line number, instruction, rest)], continuation lines joined, comments left out."""
    found, joined, start = [], "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*#", line) or (not line.strip() and not joined):
            continue
        start = start if joined else number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        word, _, rest = (joined + line).strip().partition(" ")
        found.append((start, word.upper(), rest.strip()))
        joined = ""
    if joined:
        raise Refused(f"line {start}: the last instruction does not end")
    return found


def expand(text, values):
    """${NAME} and $NAME; other forms of a shell are refused."""
    if re.search(r"\$\{[^}]*[^A-Za-z0-9_}]", text):
        raise Refused(f"'{text}': only ${{NAME}} and $NAME are known")
    return re.sub(r"\$\{(\w+)\}|\$([A-Za-z_]\w*)", lambda m: values.get(m[1] or m[2], ""), text)


class Stage:
    def __init__(self, name, root):
        self.name, self.root = name, root
        self.environment, self.arguments = {}, {}
        self.folder, self.user = "/", None

    def path(self, inside):
        return self.root / str(pathlib.PurePosixPath(self.folder) / inside).lstrip("/")

    def values(self):
        return {**self.arguments, **self.environment}


class Build:
    def __init__(self, context, folder, mounts):
        self.context, self.folder, self.mounts = context, folder, mounts
        self.global_arguments, self.stages = {}, []

    @property
    def stage(self):
        if not self.stages:
            raise Refused("an instruction before FROM")
        return self.stages[-1]

    def do(self, instruction, rest):
        handler = getattr(self, f"do_{instruction.lower()}", None)
        if handler is None:
            raise Refused(f"the instruction {instruction} is not known")
        handler(rest)

    def do_arg(self, rest):
        name, has_default, default = rest.partition("=")
        if not re.fullmatch(r"\w+", name):
            raise Refused(f"ARG {rest}")
        if not self.stages:
            self.global_arguments[name] = default
        else:
            self.stage.arguments[name] = default if has_default else self.global_arguments.get(name, "")

    def do_from(self, rest):
        match = re.fullmatch(r"(\S+)(?:\s+AS\s+(\S+))?", expand(rest, self.global_arguments), re.IGNORECASE)
        if not match or match[1] not in BASES:
            raise Refused(f"FROM {rest}: only {', '.join(sorted(BASES))} can be made here")
        self.stages.append(Stage(match[2] or f"stage{len(self.stages)}", self.folder / f"stage{len(self.stages)}"))
        make_debian(self.stage.root)

    def do_env(self, rest):
        for word in shlex.split(rest):
            name, is_pair, value = word.partition("=")
            if not is_pair:
                raise Refused(f"ENV {rest}: only NAME=value")
            self.stage.environment[name] = expand(value, self.stage.values())

    def do_workdir(self, rest):
        self.stage.folder = str(pathlib.PurePosixPath(self.stage.folder) / expand(rest, self.stage.values()))
        self.stage.path(".").mkdir(parents=True, exist_ok=True)

    def do_user(self, rest):
        self.stage.user = expand(rest, self.stage.values())

    def do_copy(self, rest):
        words = expand(rest, self.stage.values()).split()
        source_stage = None
        if words[0].startswith("--from="):
            source_stage = words.pop(0).removeprefix("--from=")
        if len(words) != 2 or words[0].startswith("--"):
            raise Refused(f"COPY {rest}: only COPY [--from=STAGE] SOURCE TARGET")
        target = self.stage.path(words[1])
        if source_stage is None:
            copy_context(self.context, words[0], target)
            return
        known = {stage.name: stage for stage in self.stages[:-1]}
        if source_stage not in known:
            raise Refused(f"COPY {rest}: there is no stage {source_stage}")
        shutil.copytree(known[source_stage].path(words[0]), target, symlinks=True, dirs_exist_ok=True)

    def do_run(self, rest):
        if rest.startswith(("--", "[")):
            raise Refused(f"RUN {rest}: only a shell command")
        run_in(self.stage, rest, self.mounts)

    def do_cmd(self, rest):
        if not rest.startswith("["):
            raise Refused(f"CMD {rest}: only the form [\"word\", ...]")


def make_debian(root):
    # Without a sync for each file, as in Docker's images.
    print(f"+ Debian 12 into {root}", flush=True)
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", "bookworm", root],
                   check=True)
    # How this machine reaches the registries.
    for file in {"/etc/resolv.conf", "/etc/hosts", os.environ.get("PIP_CERT", "")} - {""}:
        if pathlib.Path(file).exists():
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def copy_context(context, source, target):
    if source != ".":
        raise Refused(f"COPY {source}: only the whole context")
    names = subprocess.run(["git", "-C", context, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           check=True, capture_output=True).stdout
    target.mkdir(parents=True, exist_ok=True)
    archive = subprocess.Popen(["tar", "-C", context, "--null", "-T", "-", "-c"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["tar", "-C", target, "-x"], stdin=archive.stdout)
    archive.stdin.write(names)
    archive.stdin.close()
    if archive.wait() or unpack.wait():
        raise RuntimeError("the context could not be copied")


# $1: the root; $2: what to mount, "HOST:PATH HOST:PATH"; then the command. Ends with all its processes and mounts.
ENTER = """
set -e
root=$1; mounts=$2; shift 2
mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"
for pair in $mounts; do mkdir -p "$root/${pair#*:}"; mount --bind "${pair%%:*}" "$root/${pair#*:}"; done
exec chroot "$@"
"""


def run_in(stage, command, mounts):
    print(f"+ [{stage.name}] {command}", flush=True)
    environment = {"PATH": PATH, "HOME": "/root" if stage.user is None else f"/home/{stage.user}", **stage.values()}
    for name in ("PIP_CERT", "PIP_FIND_LINKS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    user = [] if stage.user is None else [f"--userspec={stage.user}:{stage.user}"]
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER, "enter", stage.root,
         " ".join(mounts), *user, stage.root, "/usr/bin/env", "-i", "-C", stage.folder,
         *(f"{name}={value}" for name, value in environment.items()), "/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"[{stage.name}] {command}: exit code {done.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--mount", action="append", default=[])
    parser.add_argument("dockerfile", type=pathlib.Path)
    parser.add_argument("context", type=pathlib.Path)
    parser.add_argument("check", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="molora-image-") as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        build = Build(options.context, folder.resolve(), options.mount)
        try:
            for number, instruction, rest in instructions(options.dockerfile.read_text()):
                try:
                    build.do(instruction, rest)
                except Refused as refusal:
                    raise Refused(f"{options.dockerfile}:{number}: {refusal}") from None
            for check in options.check:
                run_in(build.stage, check, options.mount)
        except (Refused, RuntimeError) as error:
            sys.exit(f"run_dockerfile: {error}")


if __name__ == "__main__":
    main()

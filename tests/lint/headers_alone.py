#!/usr/bin/env python3
"""Checks that every header of src/ and launcher/ compiles alone, without the precompiled header.

usage: headers_alone.py DATABASE JOBS [HEADER...]     exits 1 and shows the compiler's words for each that fails

DATABASE is a compile_commands.json without precompiled headers; a header is compiled with the flags of a
source file of its folder, or with those of src/base where its folder has none.
"""
import concurrent.futures
import json
import pathlib
import shlex
import subprocess
import sys


def read_database(path):
    """folder -> the folder to compile in and the words of a command, up to its output and input."""
    commands = {}
    for entry in json.loads(pathlib.Path(path).read_text()):
        words = shlex.split(entry["command"])
        commands[pathlib.Path(entry["file"]).parent] = (entry["directory"], words[:words.index("-o")])
    return commands


def check(header, commands):
    directory, words = commands.get(header.parent) or commands[pathlib.Path.cwd() / "src/base"]
    # Warnings are the build's to give; here each header would only hear that it is the main file.
    result = subprocess.run(words + ["-w", "-fsyntax-only", "-x", "c++", str(header)], cwd=directory,
                            capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else f"{header}: does not compile alone\n{result.stderr}"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    root = pathlib.Path.cwd()
    commands = read_database(sys.argv[1])
    named = [root / name for name in sys.argv[3:]]
    headers = named or sorted(p for top in ("src", "launcher") for p in root.glob(top + "/**/*.h"))
    if not headers:
        sys.exit(f"{root}: no headers found")
    with concurrent.futures.ThreadPoolExecutor(int(sys.argv[2])) as pool:
        errors = [error for error in pool.map(lambda header: check(header, commands), headers) if error]
    print("\n".join(errors) if errors else f"{len(headers)} headers compile alone")
    sys.exit(1 if errors else 0)


main()

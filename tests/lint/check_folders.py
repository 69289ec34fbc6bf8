#!/usr/bin/env python3
"""Enforces the layout: who may include whom, and where third-party headers and the environment may appear.

usage: check_folders.py [ROOT]      exits 1 and names file:line for every breach
"""
import pathlib
import re
import sys

# folder -> folders of src/ that it may include (besides itself). The order is the line of the program.
MAY_INCLUDE = {
    "base": [],
    "io": ["base"],
    "config": ["io", "base"],
    "tokenizer": ["io", "base"],
    "data": ["tokenizer", "config", "io", "base"],
    "report": ["io", "base"],
    "watch": ["io", "base"],
    "comm": ["watch", "base"],
    "tensor": ["io", "base"],
    "profile": ["tensor", "watch", "base"],
    "device": ["tensor", "base"],
    "kernels": ["device", "tensor", "base"],
    "parallel": ["kernels", "device", "comm", "watch", "tensor", "io", "base"],
    "model": ["parallel", "kernels", "device", "comm", "watch", "tensor", "io", "config", "base"],
    "plan": ["model", "parallel", "comm", "config", "base"],
    "train": ["model", "data", "parallel", "kernels", "device", "comm", "watch", "tensor", "config", "base"],
    "coord": ["config", "base"],
    "checkpoint": ["coord", "device", "comm", "watch", "tensor", "io", "config", "base"],
    "export": ["model", "checkpoint", "device", "comm", "tensor", "io", "config", "base"],
    "generate": ["model", "device", "tensor", "base"],
    "serve": ["generate", "model", "data", "tokenizer", "comm", "io", "base"],
    "eval": ["generate", "train", "model", "data", "tokenizer", "device", "comm", "watch", "tensor", "io", "config", "base"],
    "launcher": ["watch", "config", "io", "base"],
    "worker": ["*"],
}
# header (prefix) -> files (regular expressions) that may include it
CONFINED = {
    r"mpi\.h": [r"src/comm/.*\.cc"],
    r"nccl\.h": [r"src/comm/nccl_.*"],
    r"cuda": [r"src/comm/nccl_.*", r"src/kernels/.*"],
    r"nvtx3/": [r"src/watch/nvtx_range\.cc"],
    r"yaml-cpp/": [r"src/config/.*"],
    r"pcre2\.h|utf8proc\.h|sentencepiece": [r"src/tokenizer/.*"],
    r"openssl/|xxhash\.h|isa-l/": [r"src/io/.*"],
    r"httplib\.h": [r"src/serve/http_.*"],
    r"CLI/": [r"src/worker/.*", r"launcher/.*"],
    r"(ATen|torch|c10)/": [r"src/(tensor|profile|device|kernels|parallel|model|train|checkpoint|export|generate|eval|worker)/.*"],
}
# calls -> files that may make them
CONFINED_CALLS = {
    r"\bgetenv\(": [r"launcher/.*", r"src/comm/mpi_env\.cc", r"src/worker/main\.cc"],
    r"\b(exit|_exit|abort|quick_exit)\(": [r"launcher/(unwatched_job|supervise/child_process|rank_agent)\.cc", r"src/watch/fault_injection\.cc",
                                                   r"src/worker/(main|stop_request)\.cc"],
    r"std::cout|\bprintf\(|\bputs\(": [r"launcher/main\.cc", r"src/worker/.*"],
    r"\bMPI_[A-Z]": [r"src/comm/.*"],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def folder_of(path):
    parts = path.parts
    return parts[1] if parts[0] == "src" else parts[0]


def check_acyclic(errors):
    """The table itself must be a straight line: a folder sees only folders listed before it."""
    order = list(MAY_INCLUDE)
    for folder, allowed in MAY_INCLUDE.items():
        for other in allowed:
            if other != "*" and order.index(other) >= order.index(folder):
                errors.append(f"check_folders.py: {folder} may include {other}, which comes after it")


def check_file(root, path, errors):
    folder = folder_of(path)
    allowed = MAY_INCLUDE.get(folder)
    if allowed is None:
        errors.append(f"{path}: folder {folder} is not in the table of check_folders.py")
        return
    text = (root / path).read_text()
    if path.suffix == ".h" and "#pragma once" not in text:
        errors.append(f"{path}: no #pragma once")
    if not text.startswith("//") and path.suffix == ".h":
        errors.append(f"{path}:1: a header begins with a comment that says what it is")
    for number, line in enumerate(text.splitlines(), 1):
        if any(ord(c) > 127 for c in line):
            errors.append(f"{path}:{number}: not ASCII")
        match = INCLUDE.match(line)
        if match:
            check_include(path, number, match.group(2), match.group(1) == '"', folder, allowed, errors)
        code = line.split("//")[0]
        for call, files in CONFINED_CALLS.items():
            if re.search(call, code) and not any(re.fullmatch(f, str(path)) for f in files):
                errors.append(f"{path}:{number}: {call} belongs to {' '.join(files)}")


def check_include(path, number, header, quoted, folder, allowed, errors):
    if quoted and "/" in header:
        other = header.split("/")[0]
        if other != folder and other not in allowed and "*" not in allowed:
            errors.append(f"{path}:{number}: {folder} may not include {other}")
    elif quoted and not header.endswith(".pb.h"):
        errors.append(f'{path}:{number}: write includes from src/: "{folder}/{header}"')
    for pattern, files in CONFINED.items():
        if not quoted and re.match(pattern, header) and not any(re.fullmatch(f, str(path)) for f in files):
            errors.append(f"{path}:{number}: <{header}> belongs to {' '.join(files)}")


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    errors = []
    check_acyclic(errors)
    files = sorted(p.relative_to(root) for top in ("src", "launcher") for p in root.glob(top + "/**/*")
                   if p.suffix in (".h", ".cc", ".cu", ".cuh"))
    if not files:
        errors.append(f"{root}: no source files found")
    for path in files:
        check_file(root, path, errors)
    print("\n".join(errors) if errors else f"{len(files)} files keep the folder rules")
    sys.exit(1 if errors else 0)


main()

#!/usr/bin/env python3
"""Keeps tests/cuda/CALLS.md true: every CUDA, NCCL and LibTorch device call of src/ has a row for each file that
makes it, every row is of a call that is made there, and every test, program step and function that a row names exists.

usage: check_cuda_calls.py [ROOT]      exits 1 and names each breach
"""
import pathlib
import re
import sys

PAGE = "tests/cuda/CALLS.md"
# A call of CUDA's run time or of NCCL, and a kernel's start.
RUN_TIME = re.compile(r"\b((?:cuda|nccl)[A-Z]\w*)\s*\(|(<<<)")
# What LibTorch has for devices; methods are found by the types of the variables that they are called on.
DEVICE_TYPES = re.compile(r"\b(?:c10::)?(?:impl::)?(VirtualGuardImpl|Event)\s+(\w+)\s*[({;]")
DEVICE_CALLS = re.compile(
    r"\b(hasCUDA|getNumGPUs|lazyInitDevice|pin_memory|pinned_memory|record_stream|recordDataPtrOnStream|dlopen|dlinfo"
    r"|setDeterministic\w+|StreamGuard|DeviceGuard|OptionalDeviceGuard)\s*\(")
# Operators without a stable name; some are there for GPUs only.
PRIVATE_OPERATORS = re.compile(r"\bat::(_[a-z]\w*)\s*\(")
# Folders whose use of LibTorch is about devices.
DEVICE_FOLDERS = ("device", "kernels", "parallel", "model", "train", "checkpoint", "worker", "eval", "generate")
COLUMNS = 5


def code_of(path):
    """The file without comments and strings, so that neither counts as a call."""
    text = re.sub(r"//[^\n]*", "", path.read_text())
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def calls_of(path, folder):
    code = code_of(path)
    found = {match.group(1) or "<<<>>>" for match in RUN_TIME.finditer(code)}
    # A cast to one of NCCL's or CUDA's types is no call.
    found = {name for name in found if not re.search(r"_t$", name)}
    if folder in DEVICE_FOLDERS:
        found |= {match.group(1) for match in DEVICE_CALLS.finditer(code)}
        found |= {"at::" + match.group(1) for match in PRIVATE_OPERATORS.finditer(code)}
        for kind, variable in DEVICE_TYPES.findall(code):
            for method in re.findall(rf"\b{variable}\.(\w+)\s*\(", code):
                found.add(f"{kind}::{method}")
    return found


def made_calls(root):
    """(call, file) for every call of the program."""
    made = set()
    for path in sorted((root / "src").rglob("*")):
        if path.suffix in (".h", ".cc", ".cu", ".cuh"):
            name = path.relative_to(root)
            made |= {(call, str(name)) for call in calls_of(path, name.parts[1])}
    return made


def rows_of(page):
    """The cells of every row of the page's tables, with the line."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("| `"):
            continue
        yield number, [cell.strip() for cell in line.strip().strip("|").split("|")]


def known_tests(root):
    """Names of the tests in the sources: Suite.Test, class.method of tests/e2e, and tests that CMake registers."""
    known = set()
    for path in (root / "tests").rglob("*"):
        if path.suffix in (".cc", ".h"):
            known |= {f"{suite}.{name}" for suite, name in
                      re.findall(r"^(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)", path.read_text(), re.M)}
        elif path.suffix == ".py":
            text = path.read_text()
            for head, body in re.findall(r"^class (\w+)\(.*?\):\n(.*?)(?=^\S|\Z)", text, re.M | re.S):
                known |= {f"{head}.{name}" for name in re.findall(r"def (test_\w+)", body)}
        elif path.name == "CMakeLists.txt":
            known |= set(re.findall(r"(?:molora_register_test\(|add_test\(NAME )\s*([\w.${}]+)", path.read_text()))
    return known


def known_steps(root):
    """The steps of tests/gpu/run.sh."""
    text = (root / "tests/gpu/run.sh").read_text() if (root / "tests/gpu/run.sh").exists() else ""
    return set(re.findall(r"^\s*step ([\w.-]+)", text, re.M))


def check_row(root, where, cells, tests, steps, errors):
    call, places, covered, on_gpu, unproven = cells
    files = re.findall(r"`(src/[\w/.]+)`", places)
    functions = re.findall(r"`([\w:~]+)`", re.sub(r"`src/[^`]+`", "", places))
    if not files or not functions:
        errors.append(f"{where}: says neither in which file of src/ nor in which function {call} is called")
    for name in files:
        if not (root / name).exists():
            errors.append(f"{where}: there is no {name}")
    codes = [code_of(root / name) for name in files if (root / name).exists()]
    for function in functions:
        if not any(re.search(rf"{re.escape(function.split('::')[-1])}\s*\(", code) for code in codes):
            errors.append(f"{where}: there is no function {function} in {' or '.join(files)}")
    named = re.findall(r"`([\w.${}]+)`", covered)
    if not named and covered != "none":
        errors.append(f"{where}: names no test; write 'none' and say in the last column what that leaves unproven")
    for name in named:
        if name not in tests:
            errors.append(f"{where}: there is no test {name}")
    for name in re.findall(r"`([\w.-]+)`", on_gpu):
        if name not in steps:
            errors.append(f"{where}: tests/gpu/run.sh has no step {name}")
    if not unproven:
        errors.append(f"{where}: the last column is empty; write 'nothing' if nothing stays unproven")
    return {(call.strip("`"), name) for name in files}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    errors = []
    made = made_calls(root)
    tests, steps = known_tests(root), known_steps(root)
    listed = set()
    for number, cells in rows_of(root / PAGE):
        where = f"{PAGE}:{number}"
        if len(cells) != COLUMNS:
            errors.append(f"{where}: {len(cells)} columns instead of {COLUMNS}")
            continue
        pairs = check_row(root, where, cells, tests, steps, errors)
        errors += [f"{where}: {call} of {name} is listed twice" for call, name in pairs & listed]
        listed |= pairs
    errors += [f"{name} calls {call}, which {PAGE} does not list" for call, name in sorted(made - listed)]
    errors += [f"{PAGE} lists {call} for {name}, which does not call it" for call, name in sorted(listed - made)]
    if not made:
        errors.append(f"{root}: no call of CUDA or NCCL found in src/")
    print("\n".join(errors) if errors else f"{len(listed)} calls are listed as they are made")
    sys.exit(1 if errors else 0)


main()

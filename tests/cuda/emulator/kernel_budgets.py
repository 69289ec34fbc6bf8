#!/usr/bin/env python3
"""Holds what ptxas says of every kernel against kernel_budgets.txt.

usage: kernel_budgets.py FOLDER...            exits 1 and names each kernel that needs more than its budget
       kernel_budgets.py --write FOLDER...    makes what the kernels need now their budget

FOLDER is searched for the .ptxas files that cmake/compile_kernels.sh leaves beside the objects. A budget has
registers per thread for each architecture (GPUs give them out in eights, so budgets are multiples of 8) and
bytes of static shared memory. Spills and stack have no budget: no kernel may have any.
"""
import pathlib
import re
import subprocess
import sys

ARCHITECTURES = ("sm_80", "sm_90", "sm_100", "sm_120")
BUDGETS = pathlib.Path(__file__).with_suffix(".txt")
HEAD = "# kernel | registers on " + ", ".join(ARCHITECTURES) + " | bytes of shared memory\n"
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\S+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def demangled(name):
    words = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout.strip()
    return re.sub(r"^void run_kernel<(.*?) ?>\(.*$", r"\1", words.replace("molora::", "")).replace("> >", ">>")


def read_report(path, needs, faults):
    """(kernel, architecture) -> (registers, shared bytes)"""
    key = None
    for line in path.read_text().splitlines():
        if match := ENTRY.search(line):
            key = (demangled(match.group(1)), match.group(2))
        elif match := STACK.search(line):
            if any(int(number) for number in match.groups()):
                faults.append(f"{key[0]} on {key[1]}: {match.group(0)}")
        elif match := USED.search(line):
            shared = SHARED.search(line)
            needs[key] = (int(match.group(1)), int(shared.group(1)) if shared else 0)


def read_budgets():
    budgets = {}
    for line in BUDGETS.read_text().splitlines():
        if line.startswith("#"):
            continue
        kernel, registers, shared = (part.strip() for part in line.split("|"))
        for architecture, number in zip(ARCHITECTURES, registers.split(), strict=True):
            budgets[kernel, architecture] = (int(number), int(shared))
    return budgets


def write_budgets(needs):
    lines = [HEAD]
    for kernel in sorted({kernel for kernel, _ in needs}):
        of = [needs[kernel, architecture] for architecture in ARCHITECTURES]
        registers = " ".join(f"{-(-number // 8) * 8:3}" for number, _ in of)
        lines.append(f"{kernel:38} | {registers} | {max(shared for _, shared in of)}\n")
    BUDGETS.write_text("".join(lines))


def compare(needs, budgets, faults):
    for key in sorted(needs.keys() | budgets.keys()):
        where = f"{key[0]} on {key[1]}"
        if key not in budgets:
            faults.append(f"{where}: has no budget in {BUDGETS.name}")
        elif key not in needs:
            faults.append(f"{where}: has a budget, but there is no such kernel")
        else:
            for what, need, budget in zip(("registers", "bytes of shared memory"), needs[key], budgets[key]):
                if need > budget:
                    faults.append(f"{where}: {need} {what}, budget {budget}")


def main():
    words = sys.argv[1:]
    is_writing = words[:1] == ["--write"]
    folders = words[1:] if is_writing else words
    reports = sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.ptxas"))
    if not reports:
        sys.exit(f"no .ptxas files in {' '.join(folders) or 'no folder'}: were the kernels built?")
    needs, faults = {}, []
    for path in reports:
        read_report(path, needs, faults)
    if is_writing:
        write_budgets(needs)
    compare(needs, read_budgets(), faults)
    print("\n".join(faults) if faults else f"{len({k for k, _ in needs})} kernels on {len(ARCHITECTURES)} "
          f"architectures are within their budgets; most registers: {max(r for r, _ in needs.values())}")
    sys.exit(1 if faults else 0)


main()

#!/usr/bin/env python3
"""Reads the objects of the host kernels' loops (src/kernels/host/loop_code.h): each must define nothing
but the instances of run_rows() of its own instruction set, and call nothing but the C library's memory
functions. Anything else might be merged with the same function of another set.

usage: check_loops.py NM OBJECT...      exits 1 and names what is wrong
"""
import re
import subprocess
import sys

MEMORY = {"memcpy", "memmove", "memset"}


def faults_of(nm, path):
    text = subprocess.run([nm, "-C", path], check=True, capture_output=True, text=True).stdout
    sets = set()
    for line in text.splitlines():
        kind, name = re.match(r"[0-9a-f ]*([A-Za-z]) (.*)", line).groups()
        instance = re.match(r"void molora::run_rows<\(molora::InstructionSet\)(\d+), ", name)
        if kind == "U" and name not in MEMORY:
            yield f"{path}: calls {name}"
        elif instance:
            sets.add(instance[1])
        elif kind in "TWVui":
            yield f"{path}: defines {name}"
    if len(sets) != 1:
        yield f"{path}: has loops of {len(sets)} instruction sets, expected 1"


def main():
    nm, *objects = sys.argv[1:]
    faults = [fault for path in objects for fault in faults_of(nm, path)]
    print("\n".join(faults) if faults else f"{len(objects)} objects hold their own loops alone")
    return 1 if faults or not objects else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Counts the instructions of a few fixed small cases and compares them with the recorded ones.

usage: instruction_counts.py [--record] [--repeats N] [CASE...]

exits 1 when a case takes more than 3 % more instructions than recorded. --record writes the counts of this build
to instruction_counts.json; do so where the work has grown for a good reason, and say the reason in the commit.
--repeats N counts each case N times and prints how far the counts lie apart.

A case is the difference of two runs of the program under valgrind (cachegrind without caches), so that what both do
alike, starting LibTorch above all, is not in it. One thread, AVX2 at most on every processor: the counts depend on
the program, the compiler and LibTorch, and hardly on the machine.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOLORA = os.environ.get("MOLORA_PROGRAM", str(ROOT / "build" / "bin" / "molora"))
RECORD = pathlib.Path(__file__).with_suffix(".json")
MOST_GROWTH = 0.03
MODEL = "tests/assets/models/stories260k"

CONFIG = f"""
model: {{path: {MODEL}}}
adapter: {{num_experts: 4, experts_per_token: 2, lora_rank: 4, lora_alpha: 8, expert_compute: grouped}}
data: {{train: [tests/assets/data/multitask/dev.jsonl], max_length: 128, chat_template: llama2}}
train: {{global_batch_size: 2, micro_batch_size: 1, spike_factor: 0}}
checkpoint: {{every: 0, resume: none}}
"""

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
               "MKL_ENABLE_INSTRUCTIONS": "AVX2", "MALLOC_PERTURB_": "0"}


def generate(_, tokens):
    return ["generate", "CONFIG", "--prompt", "Once upon a time", "--raw", "--max-new-tokens", str(tokens)]


def train(folder, precision, steps):
    return ["train", "CONFIG", "--launcher", "none", "--quiet", "--set", f"model.precision={precision}",
            "--set", f"train.max_steps={steps}", "--set", f"output_dir={folder}/{precision}-{steps}",
            "--set", f"data.cache_dir={folder}/tokens"]


# case: (what is run, the same without what is counted)
CASES = {
    "load": (lambda f: generate(f, 1), lambda f: ["--version"]),
    "generate 16 tokens": (lambda f: generate(f, 17), lambda f: generate(f, 1)),
    "step fp32": (lambda f: train(f, "fp32", 4), lambda f: train(f, "fp32", 3)),
    "step bf16": (lambda f: train(f, "bf16", 4), lambda f: train(f, "bf16", 3)),
}


def count(words, folder):
    """Instructions of one run. The first of a folder tokenizes the data, which the later ones find."""
    config = folder / "run.yaml"
    words = [str(config) if word == "CONFIG" else word for word in words]
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(["setarch", "-R", *valgrind, MOLORA, *words], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **ENVIRONMENT}, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{' '.join(words)}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return int(found.group(1).replace(",", ""))


def count_case(name, folder, known):
    """`known`: counts of runs that several cases share."""
    counts = []
    for words in (part(folder) for part in CASES[name]):
        key = tuple(words)
        if key not in known:
            known[key] = count(words, folder)
        counts.append(known[key])
    return counts[0] - counts[1]


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["?"])[0]


def toolchain():
    """What the counts depend on besides the program."""
    cache = (pathlib.Path(MOLORA).parents[1] / "CMakeCache.txt").read_text()
    def entry(name):
        found = re.search(rf"^{name}:\w+=(.*)$", cache, re.MULTILINE)
        return found.group(1) if found else "?"
    versions = sorted(path.name.removesuffix(".dist-info")
                      for path in pathlib.Path(entry("MOLORA_LIBTORCH")).glob("torch-*.dist-info"))
    return {"compiler": first_line(entry("CMAKE_CXX_COMPILER"), "--version"), "build": entry("CMAKE_BUILD_TYPE"),
            "libtorch": versions[0] if versions else "?", "valgrind": first_line("valgrind", "--version")}


def prepare(folder):
    (folder / "run.yaml").write_text(CONFIG + f"output_dir: {folder}/run\n")
    # Tokenize once, outside what is counted.
    for precision in ("fp32", "bf16"):
        subprocess.run([MOLORA, *(str(folder / "run.yaml") if w == "CONFIG" else w for w in train(folder, precision, 1))],
                       cwd=ROOT, check=True, capture_output=True, env={**os.environ, **ENVIRONMENT})


def measure(names, repeats):
    """{case: [count of each repeat]}"""
    counts = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="molora-instructions-") as name:
        folder = pathlib.Path(name)
        prepare(folder)
        for _ in range(repeats):
            known = {}
            for case in names:
                counts[case].append(count_case(case, folder, known))
                print(f"{case}: {counts[case][-1]:,}", flush=True)
    return counts


def compare(counts):
    """Prints each case beside what is recorded; returns whether all are within bounds."""
    if not RECORD.exists():
        print("nothing is recorded yet; record with: python3 tests/bench/instruction_counts.py --record")
        return False
    record = json.loads(RECORD.read_text())
    good = True
    for case, now in counts.items():
        before = record["counts"].get(case)
        if before is None:
            print(f"{case}: not recorded; record with {__file__} --record")
            good = False
            continue
        growth = now / before - 1
        print(f"{case}: {now:,} instructions, {growth:+.2%} of the recorded {before:,}")
        if growth > MOST_GROWTH:
            good = False
            print(f"  FAILED: at most {MOST_GROWTH:.0%} more is taken for noise.\n"
                  f"  recorded with {record['toolchain']}\n  this is       {toolchain()}\n"
                  f"  If the growth is meant, record anew: python3 tests/bench/instruction_counts.py --record")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    unknown = [case for case in arguments.cases if case not in CASES]
    if unknown:
        parser.error(f"no case {unknown[0]!r}; there are: {', '.join(CASES)}")
    counts = measure(arguments.cases or list(CASES), arguments.repeats)
    for case, all_of_it in counts.items():
        if len(all_of_it) > 1:
            spread = (max(all_of_it) - min(all_of_it)) / min(all_of_it)
            print(f"{case}: {len(all_of_it)} counts lie {spread:.4%} apart")
    smallest = {case: min(all_of_it) for case, all_of_it in counts.items()}
    if arguments.record:
        RECORD.write_text(json.dumps({"toolchain": toolchain(), "counts": smallest}, indent=1) + "\n")
        print(f"recorded in {RECORD}")
        return
    sys.exit(0 if compare(smallest) else 1)


if __name__ == "__main__":
    main()

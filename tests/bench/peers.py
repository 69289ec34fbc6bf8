#!/usr/bin/env python3
"""molora beside Python libraries, on one shape and one machine: programs in turns, medians, ratios with their spread.

usage: peers.py --shape FOLDER --python PYTHON [--moe-python PYTHON] [--modes peft-lora,neck,...] [--precisions fp32,bf16]
                [--rounds 3] [--steps 4] [--batch 4] [--length 256] [--molora build/bin/molora] [--json FILE]

PYTHON: one with torch 2.11, transformers 5 and peft; --moe-python: one with moe-peft 2.0.2 (see peer_step.py).
Every round runs each program once, with the number of threads in OMP_NUM_THREADS (default: all cores), the order turned
round each time. molora: 8 experts, 2 a token, rank 16 on the MLP, LoRA on attention (configs/ming-moe.yaml), and plain
LoRA (configs/lora.yaml). It is nothing that passes or fails.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess

from molora_bench import ROOT, bench

HERE = pathlib.Path(__file__).resolve().parent
OURS = {"molora": "configs/ming-moe.yaml", "molora-lora": "configs/lora.yaml"}


def run_ours(options, name, precision):
    case = bench(options, ROOT / OURS[name], rows=options.batch, micro=options.batch, precision=precision)["first"]
    return case["step_seconds"]["steps"], case["memory_bytes"]["resident_peak"]


def run_peer(options, name, precision):
    python = options.moe_python if name.startswith("moe-peft") else options.python
    words = [python, HERE / "peer_step.py", name, options.shape, options.steps, options.batch, options.length, precision]
    out = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout
    result = json.loads(out.splitlines()[-1])
    return result["seconds"], result["peak_bytes"]


def measure(options, precision):
    """Returns {name: {"rounds": medians of each round, "bytes": peak}}."""
    names = list(OURS) + options.modes
    results = {name: {"rounds": [], "bytes": 0} for name in names}
    for turn in range(options.rounds):
        for name in names if turn % 2 == 0 else names[::-1]:
            run = run_ours if name in OURS else run_peer
            seconds, peak = run(options, name, precision)
            results[name]["rounds"].append(statistics.median(seconds))
            results[name]["bytes"] = max(results[name]["bytes"], peak)
            print(f"  {precision} round {turn + 1} {name}: {results[name]['rounds'][-1]:.3f} s", flush=True)
    return results


def table(results, precision):
    ours = results["molora"]
    lines = [f"{precision:18} {'step':>9} {'min':>8} {'max':>8} {'peak':>10}   molora / it: time, memory"]
    for name, of in results.items():
        ratios = [a / b for a, b in zip(ours["rounds"], of["rounds"])]
        lines.append(f"{name:18} {statistics.median(of['rounds']):7.3f} s {min(of['rounds']):8.3f} {max(of['rounds']):8.3f} "
                     f"{of['bytes'] / 2**30:6.2f} GiB   {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
                     f"{max(ratios):.2f}), {ours['bytes'] / of['bytes']:.2f}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--moe-python")
    parser.add_argument("--modes", default="peft-lora", type=lambda text: text.split(","))
    parser.add_argument("--precisions", default="fp32,bf16", type=lambda text: text.split(","))
    parser.add_argument("--molora", default=ROOT / "build/bin/molora")
    parser.add_argument("--json")
    for name, default in (("rounds", 3), ("steps", 4), ("batch", 4), ("length", 256)):
        parser.add_argument(f"--{name}", default=default, type=int)
    options = parser.parse_args()
    options.shape = pathlib.Path(options.shape).resolve()
    if any(name.startswith("moe-peft") for name in options.modes) and not options.moe_python:
        parser.error("--moe-python is needed for moe-peft modes")
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    numbers, tables = {}, []
    for precision in options.precisions:
        numbers[precision] = measure(options, precision)
        tables.append(table(numbers[precision], precision))
    print("\n\n".join(tables))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()

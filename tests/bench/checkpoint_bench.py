#!/usr/bin/env python3
"""What saving costs a run: how long training stands still, how fast parts are written, what it does to
the steps beside it, and the memory of the ranks.

usage: checkpoint_bench.py CONFIG [--ranks N] [--steps N] [--every N] [--repeats N] [--set FIELD=VALUE ...]

Runs CONFIG with and without saves, interleaved, and prints medians with the 10th and 90th percentile. The
machine should be quiet. Nothing here passes or fails.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOLORA = os.environ.get("MOLORA_PROGRAM", str(ROOT / "build" / "bin" / "molora"))
UNITS = {"": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60, "B": 1, "KiB": 2**10, "MiB": 2**20,
         "GiB": 2**30}
SAVED = re.compile(r"saved \S+step-(\d+) \(([^)]*)\): ([\d.]+)(?: (\w+))? in ([\d.]+)(?: (\w+))? \(.*/s\), "
                   r"training stood still for ([\d.]+)(?: (\w+))?")


def quantity(number, unit):
    return float(number) * UNITS[unit or ""]


def spread(values, scale=1.0):
    ordered = sorted(values)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * scale
    return f"{at(0.5):.4g} [{at(0.1):.4g}, {at(0.9):.4g}]"


def watch_memory(process, peaks):
    """Highest resident bytes of the largest rank, by sampling."""
    while process.poll() is None:
        try:
            ranks = subprocess.run(["ps", "-o", "rss=", "--sid", str(process.pid)], capture_output=True, text=True)
            sizes = [int(size) * 1024 for size in ranks.stdout.split()]
            peaks.append(max(sizes, default=0))
        except ValueError:
            pass
        time.sleep(0.2)


def run(arguments, every):
    with tempfile.TemporaryDirectory(prefix="molora-bench-", dir=arguments.folder) as folder:
        sets = [f"output_dir={folder}/run", f"train.max_steps={arguments.steps}", f"checkpoint.every={every}",
                "eval.at_start=false", "data.eval=[]", *arguments.set]
        command = [MOLORA, "train", arguments.config, "--ranks", str(arguments.ranks), "--progress", "plain"]
        for text in sets:
            command += ["--set", text]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                   start_new_session=True)
        peaks = []
        watcher = threading.Thread(target=watch_memory, args=(process, peaks))
        watcher.start()
        log = process.stderr.read()
        watcher.join()
        if process.wait() != 0:
            raise SystemExit(log)
        lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    steps = {line["step"]: line["timing"]["seconds"] for line in lines if line["type"] == "step"}
    saves = [{"step": int(m[1]), "reason": m[2], "bytes": quantity(m[3], m[4]), "seconds": quantity(m[5], m[6]),
              "still": quantity(m[7], m[8])} for m in SAVED.finditer(log)]
    return {"steps": steps, "saves": saves, "peak": max(peaks, default=0)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", default="/tmp", help="where the runs write")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    saving, plain = [], []
    for _ in range(arguments.repeats):
        plain.append(run(arguments, 0))
        saving.append(run(arguments, arguments.every))
    step_of = lambda runs: [s for r in runs for n, s in r["steps"].items() if n > 2]
    saves = [save for r in saving for save in r["saves"] if save["reason"] == "interval"]
    if not saves:
        raise SystemExit("no interval fell into the run; more --steps, or a smaller --every")
    between = [sum(r["steps"][n] for n in range(save["step"] - arguments.every + 1, save["step"] + 1))
               for r in saving for save in r["saves"] if save["reason"] == "interval"]
    beside = [r["steps"][save["step"] + 1] for r in saving for save in r["saves"]
              if save["reason"] == "interval" and save["step"] + 1 in r["steps"]]
    print(f"{arguments.config} on {arguments.ranks} rank(s), {len(saves)} saves, one every {arguments.every} steps")
    print(f"  trainable state              {saves[0]['bytes'] / 2**20:.1f} MiB on disk")
    print(f"  training stood still (ms)    {spread([s['still'] for s in saves], 1e3)}")
    print(f"  time between saves (s)       {spread(between)}")
    share = [s["still"] / b for s, b in zip(saves, between)]
    print(f"  stood still, share (%)       {spread(share, 100)}")
    print(f"  parts and commit (s)           {spread([s['seconds'] for s in saves])}")
    print(f"  written (MB/s)               {spread([s['bytes'] / s['seconds'] for s in saves], 1e-6)}")
    print(f"  step without saves (s)       {spread(step_of(plain))}")
    print(f"  step of a run with saves (s) {spread(step_of(saving))}")
    if beside:
        print(f"  step beside a save (s)       {spread(beside)}")
    print(f"  peak memory of a rank (MiB)  {max(r['peak'] for r in saving) / 2**20:.0f}, "
          f"without interval saves {max(r['peak'] for r in plain) / 2**20:.0f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Figures of one program on one machine, each as the ratio of runs that take turns: what experts, ranks, tokens,
packing, recomputation and the start cost.

usage: figures.py --shape FOLDER [--model FOLDER] [--python PYTHON] [--precisions bf16,fp32]
                  [--rounds 3] [--steps 3] [--json FILE] [FIGURE...]

FIGURE: experts      a step with 8 and with 64 experts on the MLP over one with plain LoRA, in fp32 and bf16
        useful       share of useful work with 2,048 and 4,096 tokens a step, and what of the step has a name
        ranks        2 ranks with 1 thread each over 1 rank with 2 threads
        tokens       time a token with 1k to 64k tokens a step (rows of --length tokens)
        many         time of a step with 2 to 128 experts, 2 a token
        recompute    a step with train.activation_checkpointing selective and full over none
        packing      supervised tokens a second of the seven-task set, packed over padded to the longest row of a batch
        start        from the command to the first training step, and the same start in Python (PEFT)
--shape: a folder with config.json; --model: one with weights and tokenizer too, which packing and start need.
--python: one with torch, transformers and peft, for packing and start. Threads: OMP_NUM_THREADS (default: all cores).
It is nothing that passes or fails; a line says median, least and most of the rounds.
"""
import argparse
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

import molora_bench
from molora_bench import ROOT, run

EXPERTS, LORA = ROOT / "configs/ming-moe.yaml", ROOT / "configs/lora.yaml"
DATA = ROOT / "tests/assets/data/multitask/train.jsonl"
FILLER = " a"  # one token of most vocabularies
PACKED_LENGTH, PADDED_BATCH = 512, 8
TEMPLATE_LENGTH = 48  # of the chat template around a sample, and more


def spread(numbers, form="{:.3f}"):
    return (form + " (" + form + " to " + form + ")").format(statistics.median(numbers), min(numbers), max(numbers))


def shown(name, value, say):
    print(f"{name:44} {value}   {say}", flush=True)
    return {"name": name, "value": value, "of": say}


class Bench:
    """`molora bench` on one shape."""

    def __init__(self, options):
        self.options = options

    def run(self, config, rows=4, micro=4, ranks=1, against=(), threads=None, precision="bf16", **settings):
        return molora_bench.bench(self.options, config, rows=rows, micro=micro, ranks=ranks, against=against,
                     threads=threads or self.options.threads, precision=precision, settings=settings)

    def common(self, rows=4):
        o = self.options
        return [f"model.path={o.shape}", f"data.max_length={o.length}", f"train.global_batch_size={rows}",
                f"train.micro_batch_size={rows}", "adapter.lora_dropout=0"]

    def ratio(self, against, reverse=False, **more):
        """Of medians of a round: first over second, or second over first."""
        ratios = []
        for _ in range(self.options.rounds):
            result = self.run(EXPERTS, against=against, **more)
            first, second = (result[which]["step_seconds"]["median"] for which in ("first", "second"))
            ratios.append(second / first if reverse else first / second)
        return ratios


def experts(bench):
    for precision in bench.options.precisions:
        for number in (8, 64):
            other = [LORA, *bench.common(), f"model.precision={precision}"]
            ratios = bench.ratio(other, precision=precision, **{"adapter.num_experts": number})
            yield shown(f"experts {number}, {precision}", spread(ratios), "of a step with plain LoRA")


def useful(bench):
    for precision in bench.options.precisions:
        for rows in (8, 16):
            of = [bench.run(EXPERTS, rows=rows, micro=rows, precision=precision)["first"]
                  for _ in range(bench.options.rounds)]
            yield shown(f"useful share, {rows * bench.options.length} tokens, {precision}",
                        spread([case["useful_share"] for case in of]),
                        "named " + spread([case["breakdown"]["named_share"] for case in of]))


def ranks(bench):
    for precision in bench.options.precisions:
        ratios = []
        for _ in range(bench.options.rounds):
            one = bench.run(EXPERTS, threads=2, precision=precision)
            two = bench.run(EXPERTS, micro=2, ranks=2, threads=1, precision=precision)
            ratios.append(two["first"]["step_seconds"]["median"] / one["first"]["step_seconds"]["median"])
        yield shown(f"2 ranks x 1 thread, {precision}", spread(ratios), "of 1 rank x 2 threads")


def each_round(bench, cases, measure):
    """{case: [measure of each round]}, the order turned round each time."""
    results = {case: [] for case in cases}
    for turn in range(bench.options.rounds):
        for case in cases if turn % 2 == 0 else cases[::-1]:
            results[case].append(measure(case))
    return results


def tokens(bench):
    def measure(rows):
        step = bench.run(EXPERTS, rows=rows, micro=4)["first"]
        return step["step_seconds"]["median"] / step["step_tokens"] * 1e3

    cases = [count * 1024 // bench.options.length for count in (1, 4, 16, 64)]
    for rows, each in each_round(bench, cases, measure).items():
        yield shown(f"{rows * bench.options.length} tokens a step", spread(each), "ms a token")


def many(bench):
    def measure(number):
        return bench.run(EXPERTS, **{"adapter.num_experts": number, "adapter.expert_compute": "grouped"})["first"][
            "step_seconds"]["median"]

    for number, each in each_round(bench, [2, 8, 32, 128], measure).items():
        yield shown(f"{number} experts, 2 a token", spread(each), "s a step")


def recompute(bench):
    for precision in bench.options.precisions:
        for way in ("selective", "full"):
            ratios = bench.ratio([f"train.activation_checkpointing={way}"], reverse=True, precision=precision)
            yield shown(f"recompute {way}, {precision}", spread(ratios), "of a step without")


LENGTHS = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = json.load(open(sys.argv[2]))
print(json.dumps([len(tokenizer(text)["input_ids"]) for text in texts]))
"""


def train(bench, folder, name, data, **settings):
    """Supervised tokens a second of a pass over the data."""
    o = bench.options
    words = [o.molora, "train", ROOT / "configs/smollm2-multitask.yaml", "--launcher", "none", "--quiet"]
    chosen = {"output_dir": folder / name, "model.path": o.model, "data.train": f"[{data}]", "data.eval": "[]",
              "data.cache_dir": folder / f"cache-{name}", "data.max_length": PACKED_LENGTH, "train.micro_batch_size": 4,
              "train.max_steps": 0, "train.num_epochs": 1, "checkpoint.every": 0, "adapter.num_experts": 8,
              "adapter.lora_rank": 16, **settings}
    for key, value in chosen.items():
        words += ["--set", f"{key}={value}"]
    run(words, env={**os.environ, "OMP_NUM_THREADS": str(o.threads)})
    steps = [json.loads(line) for line in open(folder / name / "metrics.jsonl")]
    steps = [step for step in steps if step["type"] == "step"]
    return sum(step["supervised"] for step in steps) / sum(step["timing"]["seconds"] for step in steps)


def packing(bench):
    o = bench.options
    samples = [json.loads(line) for line in open(DATA)]
    random.Random(1).shuffle(samples)
    samples = samples[:128]  # whole batches
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        texts = folder / "texts.json"
        texts.write_text(json.dumps(["".join(turn["value"] for turn in sample["conversations"]) for sample in samples]))
        lengths = json.loads(run([o.python, "-c", LENGTHS, o.model, texts]))
        (folder / "plain.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        with open(folder / "padded.jsonl", "w") as out:
            for first in range(0, len(samples), PADDED_BATCH):
                batch = range(first, first + PADDED_BATCH)
                longest = min(PACKED_LENGTH - TEMPLATE_LENGTH, max(lengths[i] for i in batch))
                for i in batch:
                    turns = [dict(turn) for turn in samples[i]["conversations"]]
                    turns[0]["value"] = FILLER * (longest - lengths[i]) + turns[0]["value"]
                    out.write(json.dumps({**samples[i], "conversations": turns}) + "\n")
        ratios = []
        for turn in range(o.rounds):
            packed = train(bench, folder, f"packed{turn}", folder / "plain.jsonl")
            padded = train(bench, folder, f"padded{turn}", folder / "padded.jsonl",
                           **{"train.micro_batch_size": PADDED_BATCH, "train.global_batch_size": PADDED_BATCH,
                              "data.packing": "false", "data.shuffle": "false"})
            ratios.append(packed / padded)
    yield shown(f"packed rows of {PACKED_LENGTH}", spread(ratios, "{:.2f}"),
                f"times the supervised tokens a second of batches of {PADDED_BATCH}, padded")


START = """
import sys, time, json
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import LoraConfig, get_peft_model
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=names))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
rows = [json.loads(line) for line in open(sys.argv[2])]
ids = [tokenizer("".join(t["value"] for t in row["conversations"]))["input_ids"] for row in rows]
print("ready", flush=True)
"""


def until(words, sign):
    begin = time.perf_counter()
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=ROOT) as process:
        for line in process.stdout:
            if re.search(sign, line):
                seconds = time.perf_counter() - begin
                process.kill()
                return seconds
    sys.exit(f"{' '.join(map(str, words))}: never said {sign}")


def start(bench):
    o = bench.options
    ours, tokenized, python = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(o.rounds):
            for cache, seconds in ((f"cache{turn}", ours), (f"cache{turn}", tokenized)):
                output = f"{folder}/{turn}-{len(ours)}-{len(tokenized)}"
                words = [o.molora, "train", ROOT / "configs/smollm2-multitask.yaml", "--launcher", "none",
                         "--set", f"model.path={o.model}", "--set", f"output_dir={output}",
                         "--set", f"data.cache_dir={folder}/{cache}"]
                seconds.append(until(words, r"training \d+ of"))
            python.append(until([o.python, "-c", START, o.model, DATA], "ready"))
    yield shown("start, 4,650 samples to tokenize", spread(ours, "{:.2f}"), "s to the first step")
    yield shown("start, tokenized before", spread(tokenized, "{:.2f}"), "s to the first step")
    yield shown("the same in Python (PEFT)", spread(python, "{:.2f}"), "s to the first step")


FIGURES = {each.__name__: each for each in (experts, useful, ranks, tokens, many, recompute, packing, start)}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE")
    parser.add_argument("--shape", required=True)
    parser.add_argument("--model")
    parser.add_argument("--python")
    parser.add_argument("--molora", default=ROOT / "build/bin/molora")
    parser.add_argument("--json")
    parser.add_argument("--precisions", default="bf16,fp32", type=lambda text: text.split(","))
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    for name, default in (("rounds", 3), ("steps", 3), ("length", 256)):
        parser.add_argument(f"--{name}", default=default, type=int)
    options = parser.parse_args()
    bench = Bench(options)
    results = [line for name in options.figures or FIGURES for line in FIGURES[name](bench)]
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

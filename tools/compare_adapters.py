#!/usr/bin/env python3
"""Compares the base model, plain LoRA and a mixture of experts on held-out data, at equal numbers of trained
parameters and over several seeds, and writes a page with what came out, whatever it shows.

The mixture is the adapter of the configuration. Plain LoRA stands on all seven linears (configs/compare/lora.yaml);
its lora_rank is the one whose number of trained parameters is nearest to the mixture's, and its lora_alpha keeps
lora_alpha / lora_rank. Everything else is the same for both, the order of the data of a seed included.

What is done already is kept: the same command goes on after any stop.

example: tools/compare_adapters.py runs/compare configs/medqwen3-multitask.yaml configs/compare/medqwen3.yaml
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LORA = ROOT / "configs/compare/lora.yaml"
VARIANTS = ("lora", "mixture")
PAIRS = (("base", "lora"), ("base", "mixture"), ("lora", "mixture"))


class Molora:
    """The program, with the configuration that all runs share."""

    def __init__(self, program, configs, overrides):
        self.program = program
        self.configs = configs
        self.overrides = [word for override in overrides for word in ("--set", override)]

    def run(self, *words):
        """Output of a command and the seconds of processor time that it took. Ends the script where it fails."""
        before = os.times()
        done = subprocess.run([str(word) for word in (self.program, *words)], capture_output=True, text=True)
        after = os.times()
        if done.returncode != 0:
            said = done.stdout[-2000:] + done.stderr[-2000:]
            sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{said}")
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        return done.stdout, seconds

    def train(self, files, *words):
        """The same of a run with these files over the shared ones."""
        return self.run("train", *self.configs, *files, *self.overrides, *words)


def overrides_of(settings):
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def dry_run(molora, files, settings):
    """What train --dry-run says: trained parameters, the adapter's rank and alpha, files of held-out data."""
    text, _ = molora.train(files, "--dry-run", *overrides_of(settings))
    trained = int(re.search(r"^ +trainable +([\d,]+)$", text, re.M).group(1).replace(",", ""))
    rank = int(re.search(r"^ +lora_rank: (\d+)$", text, re.M).group(1))
    alpha = float(re.search(r"^ +lora_alpha: (\S+)$", text, re.M).group(1))
    held_out = re.search(r"^  eval:\n((?:    .*\n)*)", text, re.M).group(1)
    return trained, rank, alpha, re.findall(r'path: "(.*)"', held_out)


def equal_lora(molora, mixture, output):
    """Settings of both variants with their numbers of trained parameters, and the files of held-out data. `mixture`:
    configuration files of the mixture alone."""
    folder = {"output_dir": output / "dry-run"}
    wanted, rank, alpha, held_out = dry_run(molora, mixture, folder)
    at_one, *_ = dry_run(molora, [LORA], {**folder, "adapter.lora_rank": 1})
    at_two, *_ = dry_run(molora, [LORA], {**folder, "adapter.lora_rank": 2})
    # Every rank adds as many parameters as the one before it.
    nearest = max(1, round(1 + (wanted - at_one) / (at_two - at_one)))
    settings = {"adapter.lora_rank": nearest, "adapter.lora_alpha": f"{alpha / rank * nearest:g}"}
    trained, *_ = dry_run(molora, [LORA], {**folder, **settings})
    return {"mixture": {"files": mixture, "settings": {}, "trained": wanted, "lora_rank": rank},
            "lora": {"files": [LORA], "settings": settings, "trained": trained, "lora_rank": nearest}}, held_out


def write_whole(path, value):
    """The file is there with all of its content, or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.rename(path)


def evaluate(molora, run, held_out, name, output, *words):
    """Scores of every task, and a line for each item, in output."""
    scores, items = output / f"{name}.json", output / f"{name}.jsonl"
    if not scores.exists():
        part = output / f"{name}.json.part"
        data = [word for path in held_out for word in ("--data", path)]
        molora.run("eval", *run, *words, *data, "--answers", "likelihood", "--json", part, "--items", items)
        part.rename(scores)


def train_and_evaluate(molora, variant, plan, held_out, seed, output):
    name = f"{variant}-{seed}"
    run, record = output / name, output / f"{name}.train.json"
    if not record.exists():
        print(f"training {name}", flush=True)
        # Held-out data are for afterwards: the run does not look at them.
        settings = {"output_dir": run, "seed": seed, "data.eval": "[]", **plan["settings"]}
        _, seconds = molora.train(plan["files"], "--quiet", "--ranks", 1, *overrides_of(settings))
        steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in steps if line["type"] == "step"]
        write_whole(record, {"steps": len(steps), "samples": sum(step["samples"] for step in steps),
                             "tokens": sum(step["tokens"] for step in steps), "cpu_seconds": seconds})
    print(f"evaluating {name}", flush=True)
    evaluate(molora, [run], held_out, name, output)


def compare(molora, first, second, output):
    path = output / f"{first}-against-{second}.json"
    if not path.exists():
        part = path.with_suffix(".part")
        molora.run("eval", "--compare", output / f"{first}.jsonl", output / f"{second}.jsonl", "--json", part)
        part.rename(path)
    return json.loads(path.read_text())


def spread(values, digits, factor=1.0):
    """Mean and standard deviation over seeds."""
    values = [value * factor for value in values]
    deviation = f" +- {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def scores_of(output, name):
    return {task["task"]: task for task in json.loads((output / f"{name}.json").read_text())}


def parameters_text(output, plans, seeds):
    rows = [["base", 0, "-", "-", "-", "-", "-"]]
    for variant in VARIANTS:
        records = [json.loads((output / f"{variant}-{seed}.train.json").read_text()) for seed in seeds]
        rows.append([variant, f"{plans[variant]['trained']:,}", plans[variant]["lora_rank"], records[0]["steps"],
                     spread([record["samples"] for record in records], 0),
                     spread([record["tokens"] for record in records], 0),
                     spread([record["cpu_seconds"] for record in records], 0)])
    return table(["model", "trained parameters", "lora_rank", "steps", "samples", "tokens", "processor seconds"], rows)


def task_rows(output, seeds, field, digits, factor):
    """A row for each task that has the field, and one for their unweighted mean."""
    base = scores_of(output, "base")
    runs = {variant: [scores_of(output, f"{variant}-{seed}") for seed in seeds] for variant in VARIANTS}
    tasks = [task for task in base if field in base[task]]
    rows = [[task, base[task]["questions" if field == "accuracy" else "samples"],
             f"{base[task][field] * factor:.{digits}f}",
             *(spread([run[task][field] for run in runs[variant]], digits, factor) for variant in VARIANTS)]
            for task in tasks]

    def overall(scores):
        return statistics.mean(scores[task][field] for task in tasks)

    rows.append(["mean of tasks", sum(row[1] for row in rows), f"{overall(base) * factor:.{digits}f}",
                 *(spread([overall(run) for run in runs[variant]], digits, factor) for variant in VARIANTS)])
    return rows


def pair_rows(molora, output, seeds, kind, digits, factor):
    """Rows of every paired comparison of two models over all tasks, and how many tasks differ by more than chance."""
    rows = []
    for first, second in PAIRS:
        for seed in seeds:
            a = "base" if first == "base" else f"{first}-{seed}"
            lines = compare(molora, a, f"{second}-{seed}", output)[kind]
            whole = next(line for line in lines if line["task"] == "overall")
            found = [f"{line['task']} {line['difference'] * factor:+.{digits}f}"
                     for line in lines if line["significant"] and line["task"] != "overall"]
            rows.append([f"{second} - {first}", seed, f"{whole['difference'] * factor:+.{digits}f}",
                         f"[{whole['low'] * factor:+.{digits}f}, {whole['high'] * factor:+.{digits}f}]",
                         f"{whole['p']:.4f}", ", ".join(found) or "none"])
    return rows


def page(molora, output, plans, seeds):
    head = ["task", "items", "base", "lora", "mixture"]
    pairs = ["difference", "seed", "mean of tasks", "95 % interval", "p", "tasks that differ (Holm, 0.05)"]
    return "\n".join([
        f"Seeds: {', '.join(map(str, seeds))}. Numbers over seeds are mean +- standard deviation.\n",
        parameters_text(output, plans, seeds),
        "Accuracy, percent (likeliest candidate):\n", table(head, task_rows(output, seeds, "accuracy", 1, 100)),
        "Held-out loss, nats per answer token:\n", table(head, task_rows(output, seeds, "loss", 3, 1)),
        "Paired tests of accuracy, percentage points:\n",
        table(pairs, pair_rows(molora, output, seeds, "answers", 1, 100)),
        "Paired tests of loss, nats (less is better):\n",
        table(pairs, pair_rows(molora, output, seeds, "losses", 3, 1))])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path, help="folder for runs, scores and the page (comparison.md)")
    parser.add_argument("config", nargs="+", help="configuration files with experts; later ones override earlier ones")
    parser.add_argument("--mixture", nargs="+", default=[], metavar="FILE",
                        help="configuration files of the mixture alone: settings of routers and experts that plain "
                        "LoRA has no use for, and that would be refused there")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="as of molora train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--molora", default=ROOT / "build/bin/molora", help="the program")
    arguments = parser.parse_args()

    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    molora = Molora(arguments.molora, arguments.config, arguments.set)
    plans, held_out = equal_lora(molora, arguments.mixture, output)
    for variant in VARIANTS:
        print(f"{variant}: {plans[variant]['trained']:,} trained parameters, lora_rank {plans[variant]['lora_rank']}")
    print("evaluating base", flush=True)
    evaluate(molora, arguments.config, held_out, "base", output, *molora.overrides)
    for done, seed in enumerate(arguments.seeds, 1):
        for variant in VARIANTS:
            train_and_evaluate(molora, variant, plans[variant], held_out, seed, output)
        text = page(molora, output, plans, arguments.seeds[:done])
        (output / "comparison.md").write_text(text)
    print(text)


main()

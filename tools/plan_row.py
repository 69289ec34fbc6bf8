#!/usr/bin/env python3
"""One row of the tables of configs/hardware/README.md, from the JSON of `molora plan --gpus`.

usage: plan_row.py PLAN.json
"""
import json
import sys

GIB = 2**30


def size(number):
    for unit, name in ((2**40, "TiB"), (GIB, "GiB"), (2**20, "MiB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number / 1024:.0f} KiB" if number else "-"


def row(plan):
    model = plan["model"].rsplit("/", 1)[-1]
    if not plan["fits"]:
        leanest = plan["leanest"]
        remedies = ", ".join(f"`{remedy}`" for remedy in plan["remedies"]) or "nothing"
        return (f"| {model} | {plan['gpus']} | does not fit ({size(leanest['memory']['total'])} at least); "
                f"would do: {remedies} | | | | | | |")
    best = plan["best"]
    memory = best["memory"]
    term, seconds = max(best["seconds"].items(), key=lambda item: item[1])
    return (f"| {model} | {plan['gpus']} | {best['text']} | {best['tokens_per_second']:,.0f} | "
            f"{best['tokens_per_second'] / plan['gpus']:,.0f} | {size(memory['total'])} | "
            f"{size(memory['base'])} / {size(memory['activations'])} | {size(best['rank_bytes_sent_step'])} | "
            f"{term} {100 * seconds / best['seconds_step']:.0f} % |")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        print(row(json.load(file)))


main()

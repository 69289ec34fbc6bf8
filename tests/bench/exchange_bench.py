#!/usr/bin/env python3
"""Times every exchange mode and what `auto` chooses, interleaved, on the ranks of this machine.

usage: exchange_bench.py [--repeats N] [--steps N]     prints a table; needs a quiet machine

Three shapes: one where bases and adapters are of like size (tp), one with many experts over data-parallel ranks (ep
over dp), one wider model with both. Median and spread of the step times of all repeats, the first steps left out.
"""
import argparse
import array
import json
import pathlib
import random
import re
import statistics
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOLORA = ROOT / "build" / "bin" / "molora"
SMALL = "tests/assets/models/medqwen3-1m"

# name: (model, ranks, tp, ep, adapter)
SHAPES = {
    "small, tp2": (SMALL, 2, 2, 2, {"num_experts": 8, "lora_rank": 16}),
    "many experts, dp2": (SMALL, 2, 1, 2, {"num_experts": 64, "lora_rank": 16}),
    "wider, tp2": ("wide", 2, 2, 2, {"num_experts": 8, "lora_rank": 16}),
}
MODES = ("replicate", "rank", "gather", "tokens", "auto")
SKIP = 3  # first steps: caches and page faults


def write_wide_model(folder):
    """SmolLM2-135M's widths, six layers, random weights; the tokenizer of the small model."""
    sizes = {"hidden": 576, "mlp": 1536, "heads": 8, "kv": 4, "head": 64, "layers": 6, "vocab": 4096}
    config = json.loads((ROOT / SMALL / "config.json").read_text())
    config.update(hidden_size=576, intermediate_size=1536, num_attention_heads=8, num_key_value_heads=4,
                  head_dim=64, num_hidden_layers=6, torch_dtype="float32", max_window_layers=6)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for path in (ROOT / SMALL).glob("*token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    d, f, q, kv = sizes["hidden"], sizes["mlp"], 8 * 64, 4 * 64
    tensors = {"model.embed_tokens.weight": (4096, d), "model.norm.weight": (d,)}
    for i in range(sizes["layers"]):
        layer = f"model.layers.{i}."
        tensors |= {layer + "input_layernorm.weight": (d,), layer + "post_attention_layernorm.weight": (d,),
                    layer + "self_attn.q_proj.weight": (q, d), layer + "self_attn.k_proj.weight": (kv, d),
                    layer + "self_attn.v_proj.weight": (kv, d), layer + "self_attn.o_proj.weight": (d, q),
                    layer + "self_attn.q_norm.weight": (64,), layer + "self_attn.k_norm.weight": (64,),
                    layer + "mlp.gate_proj.weight": (f, d), layer + "mlp.up_proj.weight": (f, d),
                    layer + "mlp.down_proj.weight": (d, f)}
    rng = random.Random(0)
    noise = array.array("f", (rng.gauss(0, 0.03) for _ in range(1 << 20)))
    header, blobs, at = {}, [], 0
    for name, shape in tensors.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        if "norm" in name:
            data = array.array("f", [1.0]) * count
        else:
            data = array.array("f")
            while len(data) < count:
                data.extend(noise[rng.randrange(1 << 16):])
            del data[count:]
        blobs.append(data.tobytes())
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count]}
        at += 4 * count
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def run(work, shape, mode, steps, number):
    model, ranks, tp, ep, adapter = SHAPES[shape]
    model = work / "wide" if model == "wide" else model
    out = work / f"run{number}"
    sets = {"model.path": model, "output_dir": out, "train.max_steps": steps, "checkpoint.every": 0,
            "eval.at_start": "false", "eval.max_samples_per_task": 1, "train.global_batch_size": 2 * (ranks // tp),
            "train.micro_batch_size": 2, "parallel.tensor_parallel": tp, "parallel.expert_parallel": ep,
            "parallel.exchange": mode, "data.cache_dir": work / "cache", "data.eval": "[]"}
    sets |= {f"adapter.{key}": value for key, value in adapter.items()}
    command = [MOLORA, "train", ROOT / "configs/medqwen3-multitask.yaml", "--ranks", ranks]
    for key, value in sets.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["timing"]["seconds"] for line in lines if line["type"] == "step"][SKIP:]
    chosen = re.findall(r"exchange of (gate_up|down): (\w+)", done.stderr)
    return seconds, dict(chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=13)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="molora-bench-") as folder:
        work = pathlib.Path(folder)
        write_wide_model(work / "wide")
        number = 0
        for shape, (_, ranks, tp, ep, adapter) in SHAPES.items():
            modes = [mode for mode in MODES if not (mode == "rank" and tp == 1)]
            times = {mode: [] for mode in modes}
            for _ in range(arguments.repeats):
                for mode in modes:
                    seconds, chosen = run(work, shape, mode, arguments.steps, number)
                    number += 1
                    times[mode] += seconds
                    if mode == "auto":
                        auto = chosen
            medians = {mode: statistics.median(values) for mode, values in times.items()}
            best = min(medians[mode] for mode in modes if mode != "auto")
            print(f"\n{shape}: {ranks} ranks, ep {ep}, {adapter}; auto: {auto}")
            for mode in modes:
                low, high = statistics.quantiles(times[mode], n=10)[0], statistics.quantiles(times[mode], n=10)[-1]
                print(f"  {mode:<10} {medians[mode] * 1e3:8.1f} ms a step  [{low * 1e3:.1f}, {high * 1e3:.1f}]"
                      f"  {medians[mode] / best:5.2f} x the best mode")


main()

#!/usr/bin/env python3
"""Converts the GGUF file of SmolLM2 to a Hugging Face model.safetensors in bf16, and checks it.

usage: convert_smollm2.py GGUF CONFIG_JSON GOLDEN_JSON OUTPUT

Every tensor is dequantised to fp32, renamed, and rounded to bf16 (nearest, ties to even). GGUF keeps the
rows of q and k interleaved for its own rotary embedding; they go back to half-split order. The head is tied
to the embedding, so there is no lm_head. The sums and first values in GOLDEN_JSON must come out.
"""
import json
import re
import sys

import gguf
import numpy
import safetensors

OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOLERANCE = 1e-6  # of a sum, relative to the sum of magnitudes


def hugging_face_name(name):
    if name in OUTER:
        return OUTER[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if not match or match.group(2) not in IN_LAYER:
        sys.exit(f"convert_smollm2.py: the GGUF file holds a tensor that SmolLM2 has not: {name}")
    return f"model.layers.{match.group(1)}.{IN_LAYER[match.group(2)]}.weight"


def half_split_rows(rows, heads):
    """rows: [heads * size, in], each head's rows interleaved (0, size/2, 1, ...)."""
    size = rows.shape[0] // heads
    return rows.reshape(heads, size // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_bf16_bits(values):
    if not numpy.isfinite(values).all():
        sys.exit("convert_smollm2.py: the GGUF file holds a value that is not finite")
    bits = numpy.ascontiguousarray(values, dtype="<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def from_bf16_bits(bits):
    return (bits.astype("<u4") << 16).view("<f4")


def convert(path, config):
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tensors = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            values = half_split_rows(values, heads[kind])
        tensors[hugging_face_name(tensor.name)] = to_bf16_bits(values)
    expected = len(OUTER) + len(IN_LAYER) * config["num_hidden_layers"]
    if len(tensors) != expected:
        sys.exit(f"convert_smollm2.py: {path} holds {len(tensors)} tensors, expected {expected}")
    return tensors


def check(tensors, golden):
    """Refuses tensors whose shape, sums or first values are not the golden ones."""
    if not golden["tensor_checks"]:
        sys.exit("convert_smollm2.py: the golden file holds no tensor_checks")
    for name, expected in golden["tensor_checks"].items():
        values = from_bf16_bits(tensors[name]).astype("f8")
        got = {
            "shape": list(values.shape),
            "sum": float(values.sum()),
            "abs_sum": float(abs(values).sum()),
            "first8": values.ravel()[:8].tolist(),
        }
        near = TOLERANCE * expected["abs_sum"]
        right = (got["shape"] == expected["shape"] and got["first8"] == expected["first8"]
                 and abs(got["sum"] - expected["sum"]) <= near and abs(got["abs_sum"] - expected["abs_sum"]) <= near)
        if not right:
            sys.exit(f"convert_smollm2.py: {name} came out wrong:\n  expected {expected}\n  got      {got}")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    path, config_path, golden_path, output = sys.argv[1:]
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    with open(golden_path, encoding="utf-8") as file:
        golden = json.load(file)
    tensors = convert(path, config)
    check(tensors, golden)
    try:
        safetensors.serialize_file(
            {name: {"dtype": "bfloat16", "shape": bits.shape, "data": bits.tobytes()}
             for name, bits in tensors.items()}, output, {"format": "pt"})
    except (OSError, safetensors.SafetensorError) as error:
        sys.exit(f"convert_smollm2.py: cannot write {output}: {error}")
    print(f"{len(tensors)} tensors, {len(golden['tensor_checks'])} of them checked against the golden sums")


main()

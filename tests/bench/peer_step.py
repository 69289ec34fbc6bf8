#!/usr/bin/env python3
"""Times training steps of a Python library on a model's shape with random weights, and prints one line of JSON.

usage: peer_step.py MODE SHAPE STEPS BATCH LENGTH fp32|bf16

MODE: peft-lora         PEFT, LoRA on all seven linears
      neck              experts in plain PyTorch (all experts in two products with a gated bottleneck) on the three
                        linears of the MLP, PEFT's LoRA on the four of attention
      moe-peft-lora, moe-peft-mixlora, moe-peft-mola
                        MoE-PEFT 2.0.2, which wants transformers 4.46.3: a Python of its own
SHAPE: a folder with config.json. Threads: OMP_NUM_THREADS.
E=8, k=2, r=16, alpha=32, no dropout (MoE-PEFT refuses 0: 0.05 there), AdamW, clipping at 1, all tokens in the loss, as `molora bench` does by default.
The first step is not counted.
"""
import json
import math
import os
import resource
import sys
import tempfile
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

RANK, ALPHA, EXPERTS, PER_TOKEN = 16, 32, 8, 2
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def random_model(shape, dtype):
    config = AutoConfig.from_pretrained(shape)
    config.use_cache = False
    for name in ("dtype", "torch_dtype"):  # transformers 5 and 4
        try:
            model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", **{name: dtype})
            break
        except TypeError:
            continue
    return model.requires_grad_(False).train()


class Neck(torch.nn.Module):
    """A frozen linear with experts on it."""

    def __init__(self, linear, dtype):
        super().__init__()
        self.linear = linear
        inputs, outputs = linear.in_features, linear.out_features
        self.a = torch.nn.Parameter(torch.randn(EXPERTS * RANK, inputs, dtype=dtype) / math.sqrt(inputs))
        self.b = torch.nn.Parameter(torch.zeros(outputs, EXPERTS * RANK, dtype=dtype))
        self.router = torch.nn.Linear(inputs, EXPERTS, dtype=dtype)

    def forward(self, x):
        logits = self.router(x).float()
        values, chosen = logits.topk(PER_TOKEN, -1)
        gates = torch.zeros_like(logits).scatter(-1, chosen, values.softmax(-1)).to(x.dtype) * (ALPHA / RANK)
        bottleneck = (x @ self.a.t()).unflatten(-1, (EXPERTS, RANK)) * gates.unsqueeze(-1)
        return self.linear(x) + bottleneck.flatten(-2) @ self.b.t()


def peft_step(mode, shape, dtype, ids):
    from peft import LoraConfig, get_peft_model

    model = random_model(shape, dtype)
    targets = ATTENTION + (MLP if mode == "peft-lora" else [])
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, lora_dropout=0.0))
    if mode == "neck":
        for layer in model.base_model.model.model.layers:
            for name in MLP:
                setattr(layer.mlp, name, Neck(getattr(layer.mlp, name), dtype))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return trained, lambda: model(input_ids=ids, labels=ids).loss


def moe_peft_step(mode, shape, dtype, ids):
    from moe_peft import LLMBatchConfig, LLMModel, LLMModelInput
    from moe_peft.adapters import lora_config_factory

    folder = tempfile.mkdtemp()
    random_model(shape, dtype).save_pretrained(folder)
    model = LLMModel.from_pretrained(folder, device="cpu", attn_impl="eager", load_dtype=dtype)
    kind = {"moe-peft-lora": "LORA", "moe-peft-mixlora": "MIXLORA", "moe-peft-mola": "MOLA"}[mode]
    config = {"name": "a", "task_name": "casual", "bias": "none", "peft_type": kind, "r": RANK, "lora_alpha": ALPHA,
              "lora_dropout": 0.05, "target_modules": {name: True for name in ATTENTION + MLP},
              "routing_strategy": "mola" if kind == "MOLA" else "mixlora", "num_experts": EXPERTS, "top_k": PER_TOKEN,
              "base_model_name_or_path": folder, "task_type": "CAUSAL_LM"}
    adapter = lora_config_factory(config)
    adapter.adapter_name, adapter.task_name = "a", "casual"
    model.init_adapter(adapter)
    trained = list(model.get_adapter_weight_dict("a").values())
    for parameter in trained:
        parameter.requires_grad_(True)
    rows, length = ids.shape

    def loss():
        batch = LLMModelInput(
            batch_configs_=[LLMBatchConfig(adapter_name_="a", batch_start_idx_=0, batch_end_idx_=rows)],
            batch_tokens_=ids.tolist(), batch_labels_=ids.tolist(), batch_masks_=[[True] * length] * rows,
            output_router_logits_=True, gradient_checkpoint_="none")
        out = model.forward(batch)[0]
        return out.loss if out.aux_loss is None else out.loss + out.aux_loss

    return trained, loss


def main():
    mode, shape, steps, rows, length, precision = sys.argv[1:]
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    vocabulary = AutoConfig.from_pretrained(shape).vocab_size
    ids = torch.randint(0, vocabulary, (int(rows), int(length)))
    make = moe_peft_step if mode.startswith("moe-peft") else peft_step
    trained, loss_of = make(mode, shape, dtype, ids)
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    seconds = []
    for _ in range(int(steps) + 1):
        begin = time.perf_counter()
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"mode": mode, "seconds": seconds[1:], "loss": float(loss),
                      "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "trained": sum(parameter.numel() for parameter in trained)}))


if __name__ == "__main__":
    main()

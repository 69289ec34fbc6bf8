"""MING's adapter folder in plain PyTorch, by its public definition (arXiv 2404.09027; MediaBrain-SJTU/MING, whose
layout of files and names this follows and whose code is not here).

One linear of an MLP, token x:  z = W_s x + b_s;  S = top-k(z);  w = softmax(z_S)
    out = W x + b + (alpha / r) sum over e in S of w_e B_e A_e x
"""
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

PREFIX = "base_model.model."
MLP = ("gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


class Experts(torch.nn.Module):
    """Computes every expert for every token and picks, one at a time: slow and plain."""

    def __init__(self, linear, tensors, name, experts_per_token, scale):
        super().__init__()
        self.linear, self.k, self.scale = linear, experts_per_token, scale
        self.switch_weight = tensors.pop(f"{name}.switch.weight")
        self.switch_bias = tensors.pop(f"{name}.switch.bias")
        self.pairs = [(tensors.pop(f"{name}.experts.{e}.lora_A_{e}.weight"),
                       tensors.pop(f"{name}.experts.{e}.lora_B_{e}.weight")) for e in range(len(self.switch_bias))]

    def forward(self, x):
        logits = x @ self.switch_weight.T + self.switch_bias
        kept, chosen = logits.topk(self.k, dim=-1)
        weights = kept.softmax(-1)
        out = self.linear(x)
        for e, (a, b) in enumerate(self.pairs):
            weight = (weights * (chosen == e)).sum(-1, keepdim=True)
            out = out + self.scale * weight * (x @ a.T @ b.T)
        return out


class Lora(torch.nn.Module):
    def __init__(self, linear, tensors, name, scale):
        super().__init__()
        self.linear, self.scale = linear, scale
        self.a = tensors.pop(f"{name}.lora_A.weight")
        self.b = tensors.pop(f"{name}.lora_B.weight")

    def forward(self, x):
        return self.linear(x) + self.scale * (x @ self.a.T @ self.b.T)


def read_tensors(folder):
    """Those of both files; the pickle by torch's own restricted reader."""
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.update(torch.load(folder / "non_lora_trainables.bin", weights_only=True))
    return {name: tensor.float() for name, tensor in tensors.items()}


def attach(model, folder):
    """Puts the folder's adapter over a transformers model; every tensor of the folder must find its place."""
    folder = pathlib.Path(folder)
    lora = json.loads((folder / "adapter_config.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    scale = lora["lora_alpha"] / (lora["r"] ** 0.5 if lora["use_rslora"] else lora["r"])
    tensors = read_tensors(folder)
    for i, layer in enumerate(model.model.layers):
        name = f"{PREFIX}model.layers.{i}"
        for part, kinds, block in (("self_attn", lora["target_modules"], layer.self_attn), ("mlp", MLP, layer.mlp)):
            for kind in kinds:
                linear, path = getattr(block, kind), f"{name}.{part}.{kind}"
                adapted = (Experts(linear, tensors, path, config["num_experts_per_token"], scale) if part == "mlp"
                           else Lora(linear, tensors, path, scale))
                setattr(block, kind, adapted)
    assert not tensors, f"left over: {sorted(tensors)[:3]}"
    return model


def write_random(folder, model, base, experts, k, rank, alpha, seed, dtype=torch.float32):
    """A folder as MING's trainer leaves it after training."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    def random(*shape):
        return (0.5 * torch.randn(*shape) / shape[-1] ** 0.5).to(dtype)
    lora, other = {}, {}
    for i, layer in enumerate(model.model.layers):
        for kind in ATTENTION:
            linear, name = getattr(layer.self_attn, kind), f"{PREFIX}model.layers.{i}.self_attn.{kind}"
            lora[f"{name}.lora_A.weight"] = random(rank, linear.in_features)
            lora[f"{name}.lora_B.weight"] = random(linear.out_features, rank)
        for kind in MLP:
            linear, name = getattr(layer.mlp, kind), f"{PREFIX}model.layers.{i}.mlp.{kind}"
            for e in range(experts):
                other[f"{name}.experts.{e}.lora_A_{e}.weight"] = torch.nn.Parameter(random(rank, linear.in_features))
                other[f"{name}.experts.{e}.lora_B_{e}.weight"] = torch.nn.Parameter(random(linear.out_features, rank))
            other[f"{name}.switch.weight"] = torch.nn.Parameter(random(experts, linear.in_features))
            other[f"{name}.switch.bias"] = torch.nn.Parameter(random(experts))
    save_file(lora, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    torch.save(other, folder / "non_lora_trainables.bin")
    (folder / "adapter_config.json").write_text(json.dumps({
        "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": str(base), "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layers_pattern": None,
        "layers_to_transform": None, "loftq_config": {}, "lora_alpha": alpha, "lora_dropout": 0.05,
        "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None, "peft_type": "LORA",
        "r": rank, "rank_pattern": {}, "revision": None, "target_modules": ["q_proj", "v_proj", "o_proj", "k_proj"],
        "task_type": "CAUSAL_LM", "use_dora": False, "use_rslora": False}))
    config = json.loads((pathlib.Path(base) / "config.json").read_text())
    config.update(num_experts=experts, num_experts_per_token=k, expert_selection="topk", share_expert=False,
                  output_logit_bias=False, router_loss_coeff=0.0, router_loss_mode="contrastive")
    (folder / "config.json").write_text(json.dumps(config))

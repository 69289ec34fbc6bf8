#!/usr/bin/env python3
"""Makes golden_mixlora.{json,safetensors}: MixLoRA (arXiv 2404.15159) by its definition, in plain PyTorch.

usage: mixlora_golden.py MODEL_FOLDER      in the environment of tests/interchange/requirements.txt

One MLP, token x, experts e, base weights W frozen:
    z = W_r x                                     no bias
    top_k   p = softmax(z), S = top-k(p), w = p_S / sum of p_S
    top_p   p = softmax(z), S = the fewest of the highest whose sum exceeds top_p, w = p_S
    E_e(x) = W_d'(silu(W_g' x) * (W_u' x)) with W' = W + alpha / r B_e A_e, each linear with its own pair
    y = sum over e in S of w_e E_e(x)
Attention has plain LoRA. Every expert is computed whole, one at a time.

The balance loss is taken over the routers together ("concat": MixLoRA's rule) and as the mean of each router's own:
E * sum_e f_e P_e with P_e the mean of the full softmax and f_e the share of all choices that went to e (f sums to 1),
with top_p the share of tokens that chose e. The published code divides choices by tokens for both, so that with top_k
f sums to k: its value is k times ours ("published").

Batches are those of golden_molora_ming.safetensors in the same folder.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

EXPERTS, TOP_K, RANK, ALPHA, TOP_P, BALANCE = 5, 2, 3, 6.0, 0.6, 0.02
ATTENTION = ("q_proj", "v_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
LEARNING_RATE, STEPS = 5e-3, 4


class Lora(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear
        self.a = torch.nn.Parameter(0.5 * torch.randn(RANK, linear.in_features) / linear.in_features ** 0.5)
        self.b = torch.nn.Parameter(0.3 * torch.randn(linear.out_features, RANK))

    def forward(self, x):
        return self.linear(x) + ALPHA / RANK * (x @ self.a.T @ self.b.T)


class Block(torch.nn.Module):
    def __init__(self, mlp, gate):
        super().__init__()
        self.gate, self.mlp = gate, mlp
        self.router = torch.nn.Parameter(0.3 * torch.randn(EXPERTS, mlp.gate_proj.in_features))
        self.experts = torch.nn.ModuleList(
            torch.nn.ModuleDict({name: Lora(getattr(mlp, name)) for name in MLP}) for _ in range(EXPERTS))

    def choose(self, p):
        if self.gate == "top_k":
            return torch.zeros_like(p, dtype=torch.bool).scatter(-1, p.topk(TOP_K, -1).indices, True)
        ordered, order = p.sort(-1, descending=True)
        return torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, ordered.cumsum(-1) - ordered <= TOP_P)

    def forward(self, x):
        self.logits = x @ self.router.T
        p = self.logits.softmax(-1)
        self.chosen = self.choose(p)
        weights = p * self.chosen
        if self.gate == "top_k":
            weights = weights / weights.sum(-1, keepdim=True)
        y = 0
        for e, expert in enumerate(self.experts):
            h = torch.nn.functional.silu(expert["gate_proj"](x)) * expert["up_proj"](x)
            y = y + weights[..., e:e + 1] * expert["down_proj"](h)
        return y


def model_with_experts(folder, gate):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32,
                                                              attn_implementation="eager")
    model.requires_grad_(False)
    torch.manual_seed(306)
    for layer in model.model.layers:
        for name in ATTENTION:
            setattr(layer.self_attn, name, Lora(getattr(layer.self_attn, name)))
        layer.mlp = Block(layer.mlp, gate)
    return model.eval()


def named(model):
    """The trained tensors by the names of MixLoRA's files."""
    for i, layer in enumerate(model.model.layers):
        prefix = f"mixlora.layers.{i}"
        for name in ATTENTION:
            lora = getattr(layer.self_attn, name)
            yield f"{prefix}.self_attn.{name}.lora_A.weight", lora.a
            yield f"{prefix}.self_attn.{name}.lora_B.weight", lora.b
        yield f"{prefix}.mlp.moe_gate.weight", layer.mlp.router
        for e, expert in enumerate(layer.mlp.experts):
            for name in MLP:
                yield f"{prefix}.mlp.{name}.experts.{e}.lora_A.weight", expert[name].a
                yield f"{prefix}.mlp.{name}.experts.{e}.lora_B.weight", expert[name].b


def losses_of(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"][:, 1:]
    ce = torch.nn.functional.cross_entropy(logits[:, :-1][labels != -100], labels[labels != -100])
    valid = batch["attention_mask"].bool()
    blocks = [layer.mlp for layer in model.model.layers]
    p = torch.stack([block.logits[valid].softmax(-1) for block in blocks])  # routers, tokens, experts
    chosen = torch.stack([block.chosen[valid] for block in blocks])
    counts = chosen.sum(1)
    of_token = TOP_K if blocks[0].gate == "top_k" else 1
    share = counts / (of_token * chosen.shape[1])
    mean = EXPERTS * (share * p.mean(1)).sum(1).mean()
    concat = EXPERTS * (share.mean(0) * p.mean((0, 1))).sum()
    published = EXPERTS * ((chosen.float().mean((0, 1))) * p.mean((0, 1))).sum()
    margins = []
    for block in blocks:
        ordered = block.logits[valid].softmax(-1).sort(-1, descending=True).values
        if block.gate == "top_k":
            margins.append((ordered[:, TOP_K - 1] - ordered[:, TOP_K]).min().item())
        else:
            margins.append((ordered.cumsum(-1) - TOP_P).abs().min().item())
    return {"ce": ce, "balance_mean": mean, "balance_concat": concat, "balance_published": published,
            "counts": counts, "margin": min(margins)}


def run(folder, gate, batches, tensors):
    model = model_with_experts(folder, gate)
    trained = dict(named(model))
    for name, value in trained.items():
        tensors.setdefault("init." + name, value.detach().clone())
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = []
    for i, batch in enumerate(batches):
        optimizer.zero_grad()
        of = losses_of(model, batch)
        (of["ce"] + BALANCE * of["balance_mean"]).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        if i == 0:
            unclipped = max(1.0, norm.item() + 1e-6)
            for name, value in trained.items():
                tensors[f"{gate}.grad.{name}"] = value.grad * unclipped
        optimizer.step()
        steps.append({key: value if isinstance(value, float) else value.tolist() for key, value in of.items()}
                     | {"grad_norm": norm.item()})
        print(gate, i, steps[-1])
        assert steps[-1]["margin"] > 5e-5, "a choice that rounding may turn; take another seed"
    for of in steps:
        assert abs(of["balance_published"] - (TOP_K if gate == "top_k" else 1) * of["balance_concat"]) < 1e-5
    return steps


def main():
    folder = pathlib.Path(sys.argv[1])
    stored = load_file(folder / "golden_molora_ming.safetensors")
    batches = [{key: stored[f"step{i}.{key}"] for key in ("input_ids", "labels", "attention_mask")}
               for i in range(STEPS)]
    tensors = {}
    steps = {gate: run(folder, gate, batches, tensors) for gate in ("top_k", "top_p")}
    save_file({name: value.contiguous() for name, value in tensors.items()},
              folder / "golden_mixlora.safetensors")
    (folder / "golden_mixlora.json").write_text(json.dumps({
        "num_experts": EXPERTS, "experts_per_token": TOP_K, "top_p_mass": TOP_P, "lora_rank": RANK,
        "lora_alpha": ALPHA, "lora": ATTENTION, "balance_loss_coef": BALANCE, "learning_rate": LEARNING_RATE,
        "weight_decay": 0.01, "clip_norm": 1.0, "steps": steps}, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes router_losses_golden.json: losses of routers and their gradients, in plain PyTorch by their definitions.

usage: router_losses_golden.py >router_losses_golden.json      needs torch alone; the same numbers each time

Each case has the logits of some routers over the same tokens, what was chosen, the value of its loss and the gradient
of the loss with respect to the logits:
  switch    Switch Transformer, per router, mean over routers        MoLA: the same, summed over routers
  mixlora   the logits of all routers concatenated, as MixLoRA (and Mixtral in transformers) does it; its f sums to k
  adamole   AdaMoLE: E sum_e f_e mean(p_e - t), summed over routers; the last logit of a token is that of its threshold
  top_p     MixLoRA's dynamic routing, f over tokens, concatenated
  loramoe   LoRAMoE's cv^2 of the samples' importance times 1 +- delta, summed over routers
  entropy, z
"""
import json

import torch

ROUTERS, TOKENS, EXPERTS, K = 3, 14, 6, 2
LENGTHS = (5, 2, 4, 3)            # tokens of each sample
PREFERS_FIRST = (1, 0, 0, 1)      # LoRAMoE's task types
DELTA, THRESHOLD_MAX, TOP_P = 0.3, 0.25, 0.6


def switch(logits):
    """Of one router; f is a share of all choices."""
    p = torch.softmax(logits, -1)
    chosen = torch.topk(logits, K, -1).indices
    f = torch.nn.functional.one_hot(chosen, EXPERTS).double().sum((0, 1)) / (TOKENS * K)
    return EXPERTS * (f * p.mean(0)).sum()


def mixlora(all_logits):
    """load_balancing_loss_func of transformers' Mixtral, which MixLoRA uses."""
    logits = torch.cat(list(all_logits), 0)
    weights = torch.softmax(logits, -1)
    chosen = torch.topk(weights, K, -1).indices
    mask = torch.nn.functional.one_hot(chosen, EXPERTS).double()
    tokens_per_expert = mask.mean(0)
    return (tokens_per_expert * weights.mean(0).unsqueeze(0)).sum() * EXPERTS


def adamole(logits):
    p = torch.softmax(logits[:, :EXPERTS], -1)
    threshold = THRESHOLD_MAX * torch.sigmoid(logits[:, EXPERTS:])
    f = (p >= threshold).double().mean(0)
    return EXPERTS * (f * (p - threshold).mean(0)).sum()


def chosen_of_top_p(logits):
    p = torch.softmax(logits, -1)
    chosen = torch.zeros_like(p, dtype=torch.bool)
    for token in range(p.shape[0]):
        mass = 0.0
        for expert in torch.argsort(p[token], descending=True):
            chosen[token, expert] = True
            mass += p[token, expert].item()
            if mass > TOP_P:
                break
    return chosen


def top_p(all_logits):
    logits = torch.cat(list(all_logits), 0)
    f = chosen_of_top_p(logits.detach()).double().mean(0)
    return EXPERTS * (f * torch.softmax(logits, -1).mean(0)).sum()


def loramoe(logits):
    """cv_squared of LoRAMoE's lora.py, without padding; samples lie end to end."""
    p = torch.softmax(logits, -1)
    importance = torch.stack([part.sum(0) for part in p.split(LENGTHS)])
    first = torch.tensor(PREFERS_FIRST).view(-1, 1)
    matches = torch.cat(((first == 1).repeat(1, EXPERTS // 2), (first == 0).repeat(1, EXPERTS // 2)), -1)
    x = (importance * (1.0 + DELTA * (2.0 * matches.double() - 1.0))).flatten()
    return x.var() / (x.mean() ** 2 + 1e-10)


def entropy(logits):
    return torch.distributions.Categorical(logits=logits).entropy().mean()


def z(logits):
    return torch.logsumexp(logits, -1).square().mean()


def over_routers(loss):
    return lambda all_logits: torch.stack([loss(logits) for logits in all_logits])


CASES = {
    "switch_mean": lambda all_logits: over_routers(switch)(all_logits).mean(),
    "mola_sum": lambda all_logits: over_routers(switch)(all_logits).sum(),
    "mixlora_concat": mixlora,
    "adamole_sum": lambda all_logits: over_routers(adamole)(all_logits).sum(),
    "top_p_concat": top_p,
    "loramoe_sum": lambda all_logits: over_routers(loramoe)(all_logits).sum(),
    "entropy_mean": lambda all_logits: over_routers(entropy)(all_logits).mean(),
    "z_sum": lambda all_logits: over_routers(z)(all_logits).sum(),
}


def chosen(name, logits):
    """The experts of each token, as 0 and 1."""
    if name == "adamole_sum":
        p = torch.softmax(logits[..., :EXPERTS], -1)
        return (p >= THRESHOLD_MAX * torch.sigmoid(logits[..., EXPERTS:])).int().tolist()
    if name == "top_p_concat":
        return [chosen_of_top_p(router).int().tolist() for router in logits]
    return torch.nn.functional.one_hot(torch.topk(logits, K, -1).indices, EXPERTS).sum(-2).tolist()


def main():
    torch.manual_seed(5)
    golden = {"experts": EXPERTS, "k": K, "lengths": LENGTHS, "prefers_first": PREFERS_FIRST, "delta": DELTA,
              "threshold_max": THRESHOLD_MAX, "top_p": TOP_P, "cases": {}}
    for name, loss in CASES.items():
        width = EXPERTS + (name == "adamole_sum")
        logits = torch.round(1.5 * torch.randn(ROUTERS, TOKENS, width, dtype=torch.float64), decimals=4)
        logits.requires_grad_()
        value = loss(logits)
        value.backward()
        golden["cases"][name] = {"logits": logits.tolist(), "chosen": chosen(name, logits.detach()),
                                 "loss": value.item(), "gradient": logits.grad.tolist()}
    print(json.dumps(golden))


if __name__ == "__main__":
    main()

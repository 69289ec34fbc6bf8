"""Golden numbers of the adapted linears of the MoLoRA family, from their definitions in plain PyTorch.

One function for each method, written from its paper: loops over tokens and experts, no other code of this
project. `family_golden_test` compares outputs and all gradients with them.

    python3 tests/golden/family_golden.py tests/assets/family/golden_family.safetensors

Needs torch and safetensors. The numbers are fp64.

  T tokens, I inputs, O outputs, E experts, r rank
"""
import json
import sys

import torch
from safetensors.torch import save_file

INPUTS, OUTPUTS, TOKENS = 16, 24, 11


def numbers(*shape, bound=0.5):
    return (torch.rand(*shape, dtype=torch.float64) * 2 - 1) * bound


def softmax(z):
    e = torch.exp(z - z.max())
    return e / e.sum()


def top(z, k):
    """The k largest, ties to the lower index."""
    return sorted(range(len(z)), key=lambda e: (-z[e].item(), e))[:k]


def lora(x, a, b, scale):
    """a: [r, I]; b: [O, r]."""
    return scale * (b @ (a @ x))


class Case:
    def __init__(self, name, config, layer=0, tasks=None):
        self.name, self.config, self.layer, self.tasks = name, config, layer, tasks
        self.params = {}
        self.x = numbers(TOKENS, INPUTS, bound=1.5)
        self.w = numbers(OUTPUTS, INPUTS)
        self.bias = numbers(OUTPUTS)

    def param(self, name, *shape, bound=0.5):
        self.params[name] = numbers(*shape, bound=bound)
        return self.params[name]

    def experts(self, num, rank, one_a=False):
        self.param("lora_A", 1 if one_a else num, rank, INPUTS)
        self.param("lora_B", num, rank, OUTPUTS)

    def expert(self, e):
        a = self.params["lora_A"]
        return a[0 if a.shape[0] == 1 else e], self.params["lora_B"][e].T

    def base(self, x):
        return self.w @ x + self.bias


def mixture(case, x, weights, scale):
    """Sum of w_e s B_e A_e x over the experts of `weights`."""
    out = torch.zeros(OUTPUTS, dtype=torch.float64)
    for e, weight in weights.items():
        a, b = case.expert(e)
        out = out + weight * lora(x, a, b, scale)
    return out


def logits(case, x, rows=slice(None)):
    return case.params["router.weight"][rows] @ x + case.params["router.bias"][rows]


def kept_softmax(z, k):
    chosen = top(z, k)
    weights = softmax(torch.stack([z[e] for e in chosen]))
    return dict(zip(chosen, weights))


def ming(case, x, t):
    """MING-MOE, arXiv 2404.09027: top-k of the logits, softmax over the k."""
    return case.base(x) + mixture(case, x, kept_softmax(logits(case, x), 2), 2.0)


def medcare(case, x, t):
    """MedCare, arXiv 2406.17484: softmax over all, top-k, renormalised; beside them one LoRA of rank 2 r
    that is always on. Ours keeps it as two experts of rank r: its rows are cut in two."""
    p = softmax(logits(case, x))
    chosen = top(p, 2)
    total = sum(p[e] for e in chosen)
    out = case.base(x) + mixture(case, x, {e: p[e] / total for e in chosen}, 2.0)
    shared_a = torch.cat([case.params["lora_A"][4], case.params["lora_A"][5]])  # [2 r, I]
    shared_b = torch.cat([case.params["lora_B"][4], case.params["lora_B"][5]]).T  # [O, 2 r]
    return out + lora(x, shared_a, shared_b, 2.0)


def mola(case, x, t):
    """MoLA, arXiv 2402.08562: as MedCare's routed experts, numbers by layer; no bias."""
    p = softmax(case.params["router.weight"] @ x)
    chosen = top(p, 3)
    total = sum(p[e] for e in chosen)
    return case.base(x) + mixture(case, x, {e: p[e] / total for e in chosen}, 3.0)


def dense(case, x, t):
    """HydraLoRA, arXiv 2404.19245 (one A), and LoRAMoE, arXiv 2312.09979: softmax over all experts."""
    p = softmax(case.params["router.weight"] @ x)
    return case.base(x) + mixture(case, x, dict(enumerate(p)), 2.0)


def adamole(case, x, t):
    """AdaMoLE, arXiv 2405.00361: experts with p >= t(x), weights p - t renormalised, perhaps none."""
    p = softmax(case.params["router.weight"][:4] @ x)
    limit = 0.4 * torch.sigmoid(logits(case, x)[4])
    above = {e: p[e] - limit for e in range(4) if (p[e] - limit).item() >= 0}
    case.sizes.add(len(above))
    total = sum(above.values()) if above else 1.0
    return case.base(x) + mixture(case, x, {e: v / total for e, v in above.items()}, 2.0)


def top_p(case, x, t):
    """MixLoRA's dynamic routing, arXiv 2404.15159, of one linear: the fewest whose sum exceeds 0.6."""
    p = softmax(case.params["router.weight"] @ x)
    weights, total = {}, 0.0
    for e in top(p, 4):
        weights[e] = p[e]
        total += p[e].item()
        if total > 0.6:
            break
    case.sizes.add(len(weights))
    return case.base(x) + mixture(case, x, weights, 2.0)


def moelora(case, x, t):
    """MOELoRA, arXiv 2310.18339: one gate over the embedding of the sample's task."""
    p = softmax(case.params["task_router.weight"] @ case.params["task_router.embedding"][case.tasks[t]])
    return case.base(x) + mixture(case, x, dict(enumerate(p)), 2.0)


def dora(case, x, t):
    """DoRA, arXiv 2402.09353: m V / |V| by rows of V = W + s B A, the norm not differentiated (4.3)."""
    a, b = case.expert(0)
    v = case.w + 2.0 * (b @ a)
    return case.params["magnitude"] * ((v @ x) / v.norm(dim=1).detach()) + case.bias


def rslora(case, x, t):
    """rsLoRA, arXiv 2312.03732: alpha / sqrt(r)."""
    a, b = case.expert(0)
    return case.base(x) + lora(x, a, b, 4.0 / 2.0)  # alpha 4, r 4


def multi_head(case, x, t):
    """MH-MoE, arXiv 2404.15045, of LoRA experts: 4 parts of the input, routed each by itself."""
    deltas = []
    for part in x.reshape(4, INPUTS // 4):
        weights = kept_softmax(logits(case, part), 2)
        delta = torch.zeros(OUTPUTS // 4, dtype=torch.float64)
        for e, weight in weights.items():
            a, b = case.expert(e)
            delta = delta + weight * lora(part, a, b, 2.0)
        deltas.append(delta)
    return case.base(x) + torch.cat(deltas)


def cases():
    routed = "num_experts: 4 experts_per_token: 2 lora_rank: 2 lora_alpha: 4"
    no_bias = "bias: false"

    case = Case("ming", routed)
    case.experts(4, 2)
    case.param("router.weight", 4, INPUTS), case.param("router.bias", 4)
    yield case, ming

    case = Case("medcare", f"{routed} shared_experts: 2 router {{ gate: softmax_topk_renorm }}")
    case.experts(6, 2)
    case.param("router.weight", 4, INPUTS), case.param("router.bias", 4)
    yield case, medcare

    case = Case("mola", "num_experts_by_layer: [2, 6] experts_per_token_by_layer: [1, 3] "
                "lora_rank_by_layer: [4, 2] lora_alpha: 6 "
                f"router {{ gate: softmax_topk_renorm {no_bias} }}", layer=1)
    case.experts(6, 2)
    case.param("router.weight", 6, INPUTS)
    yield case, mola

    case = Case("hydralora", f"{routed} shared_A: true router {{ gate: dense_softmax {no_bias} }}")
    case.experts(4, 2, one_a=True)
    case.param("router.weight", 4, INPUTS)
    yield case, dense

    case = Case("loramoe", f"{routed} router {{ gate: dense_softmax {no_bias} }}")
    case.experts(4, 2)
    case.param("router.weight", 4, INPUTS)
    yield case, dense

    case = Case("adamole", f"{routed} router {{ gate: threshold threshold_max: 0.4 {no_bias} }}")
    case.experts(4, 2)
    case.param("router.weight", 5, INPUTS, bound=0.3)
    case.params["router.bias"] = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.5], dtype=torch.float64)
    yield case, adamole

    case = Case("top_p", f"{routed} router {{ gate: top_p top_p_mass: 0.6 {no_bias} }}")
    case.experts(4, 2)
    case.param("router.weight", 4, INPUTS, bound=1.0)
    yield case, top_p

    case = Case("moelora", f"{routed} router {{ gate: dense_softmax input: task task_embedding: 5 "
                "tasks: ['a', 'b', 'c'] }", tasks=[t % 3 for t in range(TOKENS)])
    case.experts(4, 2)
    case.param("task_router.embedding", 3, 5), case.param("task_router.weight", 4, 5)
    yield case, moelora

    case = Case("dora", "lora_rank: 2 lora_alpha: 4 dora: true targets { gate_proj: lora }")
    case.experts(1, 2)
    case.param("magnitude", OUTPUTS, bound=2.0)
    yield case, dora

    case = Case("rslora", "lora_rank: 4 lora_alpha: 4 rslora: true targets { gate_proj: lora }")
    case.experts(1, 4)
    yield case, rslora

    case = Case("multi_head", f"{routed} router {{ heads: 4 }}")
    case.param("lora_A", 4, 2, INPUTS // 4), case.param("lora_B", 4, 2, OUTPUTS // 4)
    case.param("router.weight", 4, INPUTS // 4), case.param("router.bias", 4)
    yield case, multi_head


def main(path):
    torch.manual_seed(11)
    tensors, about = {}, {}
    for case, method in cases():
        case.sizes = set()
        inputs = {"x": case.x, **case.params}
        for tensor in inputs.values():
            tensor.requires_grad_(True)
        out = torch.stack([method(case, case.x[t], t) for t in range(TOKENS)])
        direction = numbers(TOKENS, OUTPUTS)
        gradients = torch.autograd.grad((out * direction).sum(), list(inputs.values()), allow_unused=True)
        if method is adamole:
            assert 0 in case.sizes and len(case.sizes) >= 3, case.sizes
        if method is top_p:
            assert len(case.sizes) >= 2, case.sizes
        about[case.name] = {"config": case.config, "layer": case.layer, "tasks": case.tasks or []}
        tensors[f"{case.name}/weight"], tensors[f"{case.name}/bias"] = case.w, case.bias
        tensors[f"{case.name}/direction"], tensors[f"{case.name}/out"] = direction, out
        for (name, tensor), gradient in zip(inputs.items(), gradients):
            tensors[f"{case.name}/of/{name}"] = tensor
            tensors[f"{case.name}/d/{name}"] = torch.zeros_like(tensor) if gradient is None else gradient
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path,
              metadata={"cases": json.dumps(about)})
    print(f"{len(about)} cases, {len(tensors)} tensors: {path}")


if __name__ == "__main__":
    main(sys.argv[1])

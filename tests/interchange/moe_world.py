"""What the packages mixlora and moe_peft make of a folder, for interchange_test.py. Runs in the environment of
moe_requirements.txt.

Answers requests, one JSON object a line on standard input, with one a line on standard output:
    {"do": "logits", "form": mixlora|moe_peft (the package), "folder": ..., "base": ...}
        compares with the logits in FOLDER/molora_check.safetensors; {"difference": as a share of their spread}
    {"do": "write", "form": mixlora|mixlora-dynamic|mola, "folder": ..., "base": ...}
        writes a random adapter as moe_peft's trainer does
    {"do": "change", "folder": ..., "code": ...}
        runs `code` on `tensors`, those of adapter_model.bin, and writes them back
An answer with "error" tells what went wrong.
"""
import pathlib
import sys
import types

import torch
import transformers
from safetensors.torch import load_file


class NotInstalled(types.ModuleType):
    """A package that moe_peft imports for its tasks and data sets alone, which nothing here asks for."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return object


for package in ("datasets", "evaluate"):
    sys.modules[package] = NotInstalled(package)
import mixlora  # noqa: E402
import moe_peft  # noqa: E402
import moe_peft.models  # noqa: E402
from moe_peft.adapters import lora_config_factory  # noqa: E402
from moe_peft.trainer import save_adapter_weight  # noqa: E402
from requested import answer_requests  # noqa: E402

torch.manual_seed(0)
CONFIGS = {
    "mixlora": {"peft_type": "MIXLORA", "routing_strategy": "mixlora", "num_experts": 5, "top_k": 2, "act_fn": "silu",
                "expert_lora": {"r": 3, "lora_alpha": 6, "lora_dropout": 1e-9},
                "target_modules": ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
    "mixlora-dynamic": {"peft_type": "MIXLORA", "routing_strategy": "mixlora-dynamic", "num_experts": 4, "top_p": 0.6,
                        "temperature": 0.0, "target_modules": ["gate_proj", "down_proj"]},
    "mola": {"peft_type": "MOLA", "routing_strategy": "mola", "num_experts": 4, "top_k": 2, "use_rslora": True,
             "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]},
}


def base_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32,
                                                             attn_implementation="eager").eval()


def peft_model(base):
    return moe_peft.LLMModel(moe_peft.models.from_pretrained(base_model(base), device="cpu"))


class OfMixlora:
    def __init__(self, folder, base):
        self.model, config = mixlora.MixLoraModelForCausalLM.from_pretrained(
            str(folder), torch_dtype=torch.float32, attn_implementation="eager")
        assert config.base_model_ == str(base)
        self.model.eval()

    def logits(self, ids):
        return self.model(input_ids=torch.tensor([ids])).logits[0, -1].float()


class OfMoePeft:
    def __init__(self, folder, base):
        self.model = peft_model(base)
        self.model.load_adapter(str(folder), "it")
        # It takes what it does not find for new, and goes on: everything must be the file's.
        found = self.model.get_adapter_weight_dict("it")
        stored = torch.load(folder / "adapter_model.bin", weights_only=True)
        for tensors in (found, stored):
            tensors.pop("lm_head_.weight", None)  # of the base
        assert found.keys() == stored.keys(), found.keys() ^ stored.keys()
        assert all(torch.equal(found[name], stored[name].float()) for name in stored)

    def logits(self, ids):
        request = moe_peft.LLMModelInput(batch_configs_=[moe_peft.LLMBatchConfig("it", 0, 1)], batch_tokens_=[ids],
                                         inference_mode_=True)
        return self.model.forward(request)[0].logits[0, -1].float()


@torch.no_grad()
def logits(form, folder, base):
    folder = pathlib.Path(folder)
    model = {"mixlora": OfMixlora, "moe_peft": OfMoePeft}[form](folder, base)
    check = load_file(folder / "molora_check.safetensors")
    worst = 0.0
    for i, expected in enumerate(check["logits"]):
        found = model.logits(check[f"ids.{i}"].tolist())
        worst = max(worst, ((found - expected).abs().max() / expected.std()).item())
    return {"difference": worst, "prompts": len(check["logits"])}


@torch.no_grad()
def write(form, folder, base):
    folder = pathlib.Path(folder)
    torch.manual_seed(len(form))
    model = peft_model(base)
    # moe_peft refuses a dropout of 0 and applies it at inference too; this one lets every number pass.
    config = lora_config_factory({"r": 3, "lora_alpha": 6, "lora_dropout": 1e-9, "bias": "none", **CONFIGS[form]})
    config.adapter_name = folder.name
    model.init_adapter(config)
    for name, value in model.get_adapter_weight_dict(folder.name).items():
        if name != "lm_head_.weight":
            torch.nn.init.normal_(value, std=(2.0 if "moe_gate" in name else 0.5) * value.shape[-1] ** -0.5)
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_adapter_weight(model, types.SimpleNamespace(adapter_name=folder.name,
                                                     task_=types.SimpleNamespace(peft_task_type="CAUSAL_LM")),
                        str(folder.parent))
    return {}


def change(folder, code):
    path = pathlib.Path(folder) / "adapter_model.bin"
    tensors = torch.load(path, weights_only=True)
    exec(code, {"torch": torch, "tensors": tensors})
    torch.save(tensors, path)
    return {}


if __name__ == "__main__":
    answer_requests({"logits": logits, "write": write, "change": change})

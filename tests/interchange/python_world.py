"""What the Python world makes of a folder, for interchange_test.py. Runs in the environment of requirements.txt.

Answers requests, one JSON object a line on standard input, with one a line on standard output:
    {"do": "logits", "form": ming|peft|merged, "folder": ..., "base": ...}
        compares with the logits in FOLDER/molora_check.safetensors; {"difference": as a share of their spread}
    {"do": "write", "form": ming|peft, "folder": ..., "base": ..., "dtype": ...}
        writes a random adapter as the Python world does
    {"do": "change", "folder": ..., "code": ...}
        runs `code` on `experts` and `lora`, the tensors of a folder in MING's form, and writes them back
An answer with "error" tells what went wrong.
"""
import pathlib

import torch
import transformers
from safetensors.torch import load_file, save_file

import ming_adapter
from requested import answer_requests

torch.manual_seed(0)


def base_model(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def load(form, folder, base):
    if form == "ming":
        return ming_adapter.attach(base_model(base), folder)
    if form == "peft":
        import peft
        model = peft.PeftModel.from_pretrained(base_model(base), folder)
        # It warns about tensors that it misses, and goes on: here they must all be there.
        loaded = peft.get_peft_model_state_dict(model)
        assert loaded.keys() == load_file(folder / "adapter_model.safetensors").keys()
        return model.eval()
    return base_model(folder)


@torch.no_grad()
def logits(form, folder, base):
    folder = pathlib.Path(folder)
    model = load(form, folder, base)
    check = load_file(folder / "molora_check.safetensors")
    worst = 0.0
    for i, expected in enumerate(check["logits"]):
        found = model(input_ids=check[f"ids.{i}"].long()[None]).logits[0, -1].float()
        worst = max(worst, ((found - expected).abs().max() / expected.std()).item())
    return {"difference": worst, "prompts": len(check["logits"])}


def write(form, folder, base, dtype="float32"):
    model = base_model(base)
    if form == "ming":
        ming_adapter.write_random(folder, model, base, experts=5, k=2, rank=3, alpha=6, seed=1,
                                  dtype=getattr(torch, dtype))
        return {}
    import peft
    config = peft.LoraConfig(r=4, lora_alpha=12, use_rslora=True, task_type="CAUSAL_LM",
                             target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])
    model = peft.get_peft_model(model, config)
    for name, value in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=value.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    return {}


def change(folder, code):
    folder = pathlib.Path(folder)
    experts = torch.load(folder / "non_lora_trainables.bin", weights_only=True)
    lora = load_file(folder / "adapter_model.safetensors")
    exec(code, {"torch": torch, "experts": experts, "lora": lora,
                "name": "base_model.model.model.layers.1.mlp.up_proj"})
    torch.save(experts, folder / "non_lora_trainables.bin")
    save_file(lora, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return {}


if __name__ == "__main__":
    answer_requests({"logits": logits, "write": write, "change": change})

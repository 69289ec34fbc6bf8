"""MixLoRA and MoLA travel: folders as the packages mixlora and moe_peft read and write them."""
import json
import os
import pathlib
import shutil
import unittest

from interchange_test import CACHE, LLAMA, SAME, InterchangeCase
from molora_job import EXIT_CONFIG, EXIT_DONE, EXIT_STORAGE

QWEN = "tests/assets/models/stories260k-as-qwen2"
LLAMA_TEXT = ["data.chat_template=llama2", "data.max_length=96", "train.max_steps=8", "checkpoint.every=8"]


class MoeInterchangeCase(InterchangeCase):
    environment = os.environ.get("MOLORA_TEST_MOE_PYTHON", CACHE / "python-moe/bin/python")
    world = "moe_world.py"
    MIXLORA = [f"model.path={LLAMA}", *LLAMA_TEXT, "adapter.router.scope=block", "adapter.router.bias=false",
               "adapter.router.gate=softmax_topk_renorm"]
    MOLA = [f"model.path={LLAMA}", *LLAMA_TEXT, "adapter.router.bias=false", "adapter.targets.q_proj=experts",
            "adapter.targets.k_proj=frozen", "adapter.targets.v_proj=experts", "adapter.targets.o_proj=experts",
            "adapter.rslora=true"]

    def mixlora(self):
        return self.trained("mixlora", *self.MIXLORA)

    def mola(self):
        return self.trained("mola", *self.MOLA)


class MoeInterchangeE2E(MoeInterchangeCase):
    def test_whole_mlps_as_mixlora_has_them(self):
        out = self.export(self.mixlora(), "mixlora", "--format", "mixlora")
        self.assertRegex(out, r"mixlora: good: logits of 4 prompts, loaded afresh, differ .* at most 0 ")
        for package in ("mixlora", "moe_peft"):
            self.assert_same_in_python(package, self.folder / "mixlora", LLAMA)
        # Loaded here it is the run: same answers, and the same folder once more.
        answers = [self.run_molora("generate", path, "-p", "Once upon", "--max-new-tokens", 16)[0]
                   for path in (self.mixlora(), self.folder / "mixlora")]
        self.assertEqual(*answers)
        self.export(self.folder / "mixlora", "again", "--format", "mixlora")
        for file in ("adapter_config.json", "molora_check.safetensors"):
            self.assertEqual((self.folder / "mixlora" / file).read_bytes(), (self.folder / "again" / file).read_bytes())

    def test_experts_with_a_router_each_as_mola_has_them(self):
        out = self.export(self.mola(), "mola", "--format", "mola")
        self.assertRegex(out, r"mola: good: logits of 4 prompts, loaded afresh, differ .* at most 0 ")
        self.assert_same_in_python("moe_peft", self.folder / "mola", LLAMA)

    def test_as_many_experts_as_the_token_asks_for(self):
        run = self.trained("top_p", *self.MIXLORA, f"model.path={QWEN}", f"model.tokenizer={LLAMA}",
                           "adapter.router.gate=top_p", "adapter.router.top_p_mass=0.6",
                           "adapter.targets.up_proj=frozen")
        self.export(run, "top_p", "--format", "mixlora")
        self.assert_same_in_python("moe_peft", self.folder / "top_p", QWEN)

    def test_folders_of_moe_peft(self):
        for form, base in (("mixlora", LLAMA), ("mixlora", QWEN), ("mixlora-dynamic", LLAMA), ("mola", LLAMA)):
            with self.subTest(form=form, base=base):
                name = f"foreign-{form}-{pathlib.Path(base).name}"
                self.ask_python("write", form=form, folder=self.folder / name, base=base)
                back = "mola" if form == "mola" else "mixlora"
                out = self.export(self.folder / name, name + "-back", "--format", back,
                                  "--set", "data.chat_template=llama2", "--set", f"model.tokenizer={LLAMA}")
                self.assertIn("does not say which base model it was trained on", out)
                # What moe_peft wrote, as molora computes it, is what moe_peft computes.
                shutil.copy(self.folder / (name + "-back") / "molora_check.safetensors", self.folder / name)
                self.assert_same_in_python("moe_peft", self.folder / name, base)
                self.assert_same_in_python("moe_peft", self.folder / (name + "-back"), base)

    def test_forms_that_cannot_hold_it(self):
        for source, form, words in ((self.mixlora(), "mola", "adapter.router.scope"),
                                    (self.mixlora(), "ming", "adapter.router.scope"),
                                    (self.mola(), "mixlora", "q_proj has experts"),
                                    (self.mixture(), "mixlora", "adapter.router.scope is linear"),
                                    (self.mixture(), "mola", "plain LoRA"),
                                    (self.lora(), "mola", "plain LoRA")):
            log = self.export(source, "refused", "--format", form, expect=EXIT_CONFIG)
            self.assertIn(words, log)
        log = self.export(self.mixlora(), "refused", "--format", "peft", "--approximate", 4, expect=EXIT_CONFIG)
        self.assertIn("an adapter with adapter.router.scope", log)
        self.assertFalse((self.folder / "refused").exists())


class RefusedMoeExportsE2E(MoeInterchangeCase):
    """What must never pass for a result."""

    def setUp(self):
        super().setUp()
        self.export(self.mixlora(), "mixlora", "--format", "mixlora", "--no-check")

    def change(self, code):
        return self.changed_copy(self.folder / "mixlora", code)

    def test_swapped_zeroed_missing_and_unknown_tensors(self):
        self.assertIn("good", self.verify(self.change("pass"), EXIT_DONE))
        swapped = self.change("for m in 'AB':\n"
                              "  a, b = (f'mixlora.layers.1.mlp.up_proj.experts.{e}.lora_{m}.weight' for e in (0, 1))\n"
                              "  tensors[a], tensors[b] = tensors[b], tensors[a]")
        self.assertIn("FAILED", self.verify(swapped, EXIT_STORAGE))
        gate = self.change("name = 'mixlora.layers.{}.mlp.moe_gate.weight'\n"
                           "for i in range(5): tensors[name.format(i)] = tensors[name.format(i)].flip(0)")
        self.assertIn("FAILED", self.verify(gate, EXIT_STORAGE))
        zero = self.change("for key in tensors: tensors[key] = tensors[key] * (0 if 'lora_B' in key else 1)")
        self.assertIn("FAILED", self.verify(zero, EXIT_STORAGE))
        self.assertIn("is zero in every expert",
                      self.export(zero, "zero", "--format", "mixlora", expect=EXIT_CONFIG))
        missing = self.change("del tensors['mixlora.layers.1.mlp.moe_gate.weight']")
        self.assertIn("mixlora.layers.1.mlp.moe_gate.weight [4, 64] is missing", self.verify(missing, EXIT_CONFIG))
        unknown = self.change("tensors['mixlora.layers.1.mlp.moe_gate.bias'] = torch.zeros(4)")
        self.assertIn("moe_gate.bias has no place", self.verify(unknown, EXIT_CONFIG))
        shape = self.change("tensors['mixlora.layers.1.mlp.moe_gate.weight'] = torch.zeros(3, 64)")
        self.assertIn("has shape [3, 64], the adapter's configuration asks for [4, 64]",
                      self.verify(shape, EXIT_CONFIG))

    def test_configurations_that_disagree_or_are_not_known(self):
        for change, words in (({"r": 8}, "of rank 8"), ({"top_k": 1}, "in 1 of 4 experts"),
                              ({"act_fn": "gelu"}, "act_fn: expected"),
                              ({"routing_strategy": "mixlora-switch"}, "routing_strategy: expected"),
                              ({"use_dora": True}, "use_dora: expected it not to be used"),
                              ({"jitter_noise": 0.1}, "jitter_noise: expected 0"),
                              ({"expert_lora": {"r": 2}}, "expert_lora: expected r to be that of the file"),
                              ({"target_modules": ["q_proj"]}, "target_modules: expected at least one of gate_proj"),
                              ({"peft_type": "LORAMOE"}, "peft_type: expected")):
            with self.subTest(change=change):
                folder = self.change("")
                content = json.loads((folder / "adapter_config.json").read_text())
                (folder / "adapter_config.json").write_text(json.dumps({**content, **change}))
                self.assertIn(words, self.verify(folder, EXIT_CONFIG))


if __name__ == "__main__":
    unittest.main()

"""Results travel: exported folders mean the same to the Python world, and its folders to molora."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from molora_job import DATA, EXIT_CONFIG, EXIT_DONE, EXIT_STORAGE, MODEL, ROOT, Job

CACHE = pathlib.Path(os.environ.get("MOLORA_CACHE", pathlib.Path.home() / ".cache/molora"))
LLAMA = "tests/assets/models/stories260k"
# Of the spread of the logits; both sides compute in fp32.
SAME = 1e-4


class InterchangeCase(Job):
    """Two trained runs, `mixture` and `lora`, and a Python process, which all tests of a class share."""
    LORA_ONLY = ["adapter.targets.gate_proj=lora", "adapter.targets.up_proj=lora", "adapter.targets.down_proj=lora",
                 "adapter.rslora=true"]
    # The environment of tests/interchange/requirements.txt, and the program that answers in it.
    environment = os.environ.get("MOLORA_TEST_PYTHON", CACHE / "python/bin/python")
    world = "python_world.py"
    runs = python = None

    @classmethod
    def setUpClass(cls):
        if not pathlib.Path(cls.environment).exists():
            raise AssertionError(f"there is no {cls.environment}; install it with: ./run setup python")
        cls.runs = tempfile.TemporaryDirectory(prefix="molora-e2e-")
        cls.addClassCleanup(cls.runs.cleanup)
        cls.python = subprocess.Popen([cls.environment, ROOT / "tests/interchange" / cls.world], cwd=ROOT, text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(cls.python.communicate)

    def trained(self, name, *overrides):
        """The folder of a run that the first test to ask for it trains."""
        folder = pathlib.Path(self.runs.name) / name
        if not folder.exists():
            self.train(name, 1, *overrides)
            shutil.move(self.folder / name, folder)
        return folder

    def mixture(self):
        return self.trained("mixture")

    def lora(self):
        return self.trained("lora", *self.LORA_ONLY)

    def ask_python(self, do, **request):
        self.python.stdin.write(json.dumps({"do": do, **request}, default=str) + "\n")
        self.python.stdin.flush()
        answer = json.loads(self.python.stdout.readline())
        self.assertNotIn("error", answer, answer.get("error"))
        return answer

    def assert_same_in_python(self, form, folder, base=MODEL, most=SAME):
        found = self.ask_python("logits", form=form, folder=folder, base=base)
        self.assertLess(found["difference"], most)
        self.assertEqual(found["prompts"], 4)

    def changed_copy(self, folder, code):
        """A copy of an exported folder in which Python has run `code` on the tensors ("change" of the script)."""
        copy = self.folder / "changed"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        if code:
            self.ask_python("change", folder=copy, code=code)
        return copy

    def verify(self, folder, expect):
        out, log = self.run_molora("verify", folder, expect=expect)
        return out + log

    def export(self, source, name, *arguments, expect=EXIT_DONE):
        out, log = self.run_molora("export", source, "--output", self.folder / name, *arguments, expect=expect)
        return out + log


class InterchangeE2E(InterchangeCase):
    def test_a_mixture_as_ming_has_it(self):
        out = self.export(self.mixture(), "ming")
        self.assertRegex(out, r"ming: good: logits of 4 prompts, loaded afresh, differ .* at most 0 ")
        self.assert_same_in_python("ming", self.folder / "ming")
        # Loaded here it is the run: same answers, and the same folder once more.
        answers = [self.run_molora("generate", path, "-p", "What is asthma?", "--max-new-tokens", 16)[0]
                   for path in (self.mixture(), self.folder / "ming")]
        self.assertEqual(*answers)
        self.export(self.folder / "ming", "again")
        for file in ("adapter_config.json", "adapter_model.safetensors", "config.json", "molora_check.safetensors"):
            self.assertEqual((self.folder / "ming" / file).read_bytes(), (self.folder / "again" / file).read_bytes())

    def test_plain_lora_as_peft_has_it_and_merged(self):
        self.export(self.lora(), "peft", "--format", "peft")
        self.assert_same_in_python("peft", self.folder / "peft")
        self.export(self.lora(), "merged", "--format", "merged", "--dtype", "fp32")
        self.assert_same_in_python("merged", self.folder / "merged")
        # In the base's own type (bf16) the sum is rounded.
        out = self.export(self.lora(), "rounded", "--format", "merged")
        self.assertIn("rounded: good", out)
        self.assert_same_in_python("merged", self.folder / "rounded", most=0.2)
        # A merged folder is a base model.
        sizes = [sum(f.stat().st_size for f in pathlib.Path(p).glob("model.safetensors"))
                 for p in (ROOT / MODEL, self.folder / "rounded")]
        self.assertEqual(*sizes)
        self.run_molora("generate", self.folder / "merged", "-p", "What is asthma?", "--max-new-tokens", 4)

    def test_dora_as_peft_has_it_and_merged(self):
        dora = self.trained("dora", *self.LORA_ONLY[:3], "adapter.dora=true")
        self.export(dora, "peft", "--format", "peft")
        self.assert_same_in_python("peft", self.folder / "peft")
        self.export(dora, "merged", "--format", "merged", "--dtype", "fp32")
        self.assert_same_in_python("merged", self.folder / "merged")
        self.export(self.folder / "peft", "back", "--format", "peft")
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            self.assertEqual((self.folder / "peft" / file).read_bytes(), (self.folder / "back" / file).read_bytes())

    def test_one_lora_for_each_mixture(self):
        for form in ("peft", "merged"):
            log = self.export(self.mixture(), "plain", "--format", form, expect=EXIT_CONFIG)
            self.assertIn("--approximate RANK", log)
            self.assertIn("gate_proj, up_proj, down_proj", log)
        self.assertFalse((self.folder / "plain").exists())
        divergences = []
        for rank in (4, 16):
            data = ["--data", f"{DATA}/dev.jsonl", "--max-samples-per-task", 2]
            out = self.export(self.mixture(), f"peft-{rank}", "--format", "peft", "--approximate", rank, *data)
            lines = {line.split("  ")[1]: float(line.split(" nats")[0].split()[-1])
                     for line in out.splitlines() if " nats a token" in line}
            divergences.append(lines["this approximation"])
            self.assertLess(lines["this approximation"], lines["no adapter at all"])
            self.assertGreater(lines["this approximation"], 0.0)
            self.assert_same_in_python("peft", self.folder / f"peft-{rank}")
        # Four experts of rank 4: at rank 16 only the routing is lost.
        self.assertLess(divergences[1], divergences[0])

    def test_folders_of_the_python_world(self):
        for form, base, dtype in (("ming", MODEL, "float32"), ("ming", LLAMA, "bfloat16"), ("peft", MODEL, "float32")):
            with self.subTest(form=form, base=base):
                name = f"foreign-{form}-{pathlib.Path(base).name}"
                self.ask_python("write", form=form, folder=self.folder / name, base=base, dtype=dtype)
                sets = ["--set", "data.chat_template=llama2"] if base == LLAMA else []
                out = self.export(self.folder / name, name + "-back", "--format", form, *sets)
                self.assertIn("does not say which base model it was trained on", out)
                # What Python wrote, as molora computes it, is what Python computes.
                shutil.copy(self.folder / (name + "-back") / "molora_check.safetensors", self.folder / name)
                self.assert_same_in_python(form, self.folder / name, base)
                self.assert_same_in_python(form, self.folder / (name + "-back"), base)

    def test_eval_of_an_exported_folder_on_ranks(self):
        self.export(self.mixture(), "ming", "--no-check")
        results = []
        for path, ranks, *sets in ((self.mixture(), 1), (self.folder / "ming", 2, "parallel.tensor_parallel=2",
                                                            "parallel.expert_parallel=2", "parallel.exchange=tokens")):
            file = self.folder / f"results-{ranks}.json"
            words = [part for text in (*sets, "data.max_length=512") for part in ("--set", text)]
            self.run_molora("eval", path, "--data", f"{DATA}/dev.jsonl", "--max-samples-per-task", 2, "--json", file,
                            "--ranks", ranks, *words)
            results.append(json.loads(file.read_text()))
        for one, two in zip(*results, strict=True):
            self.assertAlmostEqual(one.pop("loss"), two.pop("loss"), places=5)
            self.assertEqual(one, two)


class InterchangeLongE2E(InterchangeCase):
    def test_numbers_of_half_the_size(self):
        self.export(self.mixture(), "half", "--dtype", "bf16")
        self.assert_same_in_python("ming", self.folder / "half")
        self.export(self.mixture(), "whole", "--no-check")
        half, whole = ((self.folder / name / "non_lora_trainables.bin").stat().st_size for name in ("half", "whole"))
        self.assertLess(half, 0.6 * whole)

    def test_an_adapter_that_routes_by_task_is_a_model_for_each(self):
        tasks = sorted({json.loads(line)["task"] for line in (ROOT / DATA / "dev.jsonl").read_text().splitlines()})
        moelora = self.trained("moelora", "adapter.router.input=task", "adapter.router.gate=dense_softmax",
                               f"adapter.router.tasks={json.dumps(tasks)}")
        logits = []
        for number in (0, 1):
            name = f"task-{number}"
            self.export(moelora, name, "--format", "merged", "--dtype", "fp32", "--task", tasks[number])
            self.assert_same_in_python("merged", self.folder / name)
            logits.append((self.folder / name / "molora_check.safetensors").read_bytes())
        self.assertNotEqual(*logits)
        log = self.export(moelora, "none", "--format", "merged", expect=EXIT_CONFIG)
        self.assertIn("no task is named", log)

    def test_drawn_experts_as_ming_has_them(self):
        drawn = self.trained("drawn", "adapter.router.selection=sampled")
        self.export(drawn, "ming")
        self.assertEqual(json.loads((self.folder / "ming/config.json").read_text())["expert_selection"], "sampling")
        answers = [self.run_molora("generate", path, "-p", "What is asthma?", "--max-new-tokens", 16)[0]
                   for path in (drawn, self.folder / "ming")]
        self.assertEqual(*answers)


class RefusedExportsE2E(InterchangeCase):
    """What must never pass for a result."""

    def setUp(self):
        super().setUp()
        self.export(self.mixture(), "ming", "--no-check")
        self.ming = self.folder / "ming"

    def change(self, code):
        return self.changed_copy(self.ming, code)

    def test_swapped_zeroed_missing_and_unknown_tensors(self):
        self.assertIn("good", self.verify(self.change("pass"), EXIT_DONE))
        # Two experts of one linear change places, their router does not.
        swapped = self.change("for m in 'AB':\n"
                              "  a, b = (f'{name}.experts.{e}.lora_{m}_{e}.weight' for e in (0, 1))\n"
                              "  experts[a], experts[b] = experts[b], experts[a]")
        self.assertIn("FAILED", self.verify(swapped, EXIT_STORAGE))
        zero = self.change("for key in experts: experts[key] = experts[key] * (0 if 'lora_B' in key else 1)")
        self.assertIn("FAILED", self.verify(zero, EXIT_STORAGE))
        self.assertIn("is zero in every expert", self.export(zero, "zero", expect=EXIT_CONFIG))
        missing = self.change("del experts[f'{name}.switch.bias']")
        log = self.verify(missing, EXIT_CONFIG)
        self.assertIn("layers.1.mlp.up_proj.switch.bias [4] is missing", log)
        unknown = self.change("experts[name + '.extra.weight'] = torch.zeros(2)")
        self.assertIn("extra.weight has no place", self.verify(unknown, EXIT_CONFIG))
        shape = self.change("experts[f'{name}.switch.bias'] = torch.zeros(3)")
        self.assertIn("has shape [3], the adapter's configuration asks for [4]", self.verify(shape, EXIT_CONFIG))

    def test_configurations_that_disagree_or_are_not_known(self):
        for file, change, words in (
                ("adapter_config.json", {"r": 8}, "of rank 8"),
                ("adapter_config.json", {"use_dora": True}, "q_proj of rank 4 times 2 with magnitudes"),
                ("adapter_config.json", {"peft_type": "IA3"}, "peft_type"),
                ("config.json", {"num_experts_per_token": 1}, "in 1 of 4 experts"),
                ("config.json", {"share_expert": True}, "share_expert: expected false"),
                ("config.json", {"num_experts": None}, "num_experts: expected a whole number")):
            with self.subTest(change=change):
                folder = self.change("")
                content = json.loads((folder / file).read_text())
                (folder / file).write_text(json.dumps({**content, **change}))
                self.assertIn(words, self.verify(folder, EXIT_CONFIG))

    def test_another_base_model_and_a_folder_that_is_there(self):
        log = self.run_molora("generate", self.ming, "-p", "x", "--set", "model.path=tests/assets/models/stories260k",
                              "--set", "data.chat_template=llama2", expect=EXIT_CONFIG)[1]
        self.assertIn("was trained on a base model with fingerprint", log)
        self.assertIn("is there already", self.export(self.mixture(), "ming", expect=EXIT_CONFIG))
        self.assertTrue((self.ming / "adapter_config.json").exists())

    def test_an_adapter_that_was_never_trained(self):
        self.assertIn("is zero in every expert", self.export(self.config, "untrained", expect=EXIT_CONFIG))
        self.assertFalse((self.folder / "untrained").exists())


if __name__ == "__main__":
    unittest.main()

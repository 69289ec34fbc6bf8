"""Members of the MoLoRA family as a user trains, resumes, evaluates and asks them."""
import json
import re
import shutil
import unittest

from molora_job import EXIT_CONFIG, ROOT, Job

DEV = "tests/assets/data/multitask/dev.jsonl"
SHORT = ["train.max_steps=4", "checkpoint.every=2", "checkpoint.keep_last=3", "train.global_batch_size=4",
         "data.max_length=96"]

# What is set over molora_job.SMALL_RUN (4 experts, 2 per token, rank 4).
MEMBERS = {
    "medcare": ["adapter.shared_experts=2", "adapter.router.gate=softmax_topk_renorm"],
    "mola": ["adapter.num_experts_by_layer=[2, 2, 4, 6]", "adapter.lora_rank_by_layer=[8, 4, 4, 2]",
             "adapter.router.gate=softmax_topk_renorm", "adapter.router.bias=false"],
    "hydralora": ["adapter.shared_A=true", "adapter.router.gate=dense_softmax", "adapter.router.bias=false"],
    "adamole": ["adapter.router.gate=threshold", "adapter.router.bias=false"],
    "top_p": ["adapter.router.gate=top_p", "adapter.router.bias=false"],
    "sampling": ["adapter.router.selection=sampled_in_training"],
    "dora": ["adapter.dora=true"],
    "heads": ["adapter.router.heads=4"],
}


def layers_of_model():
    return json.loads((ROOT / "tests/assets/models/medqwen3-1m/config.json").read_text())["num_hidden_layers"]


def for_model(overrides):
    """Lists by layer as long as the model has layers."""
    fitted = []
    for text in overrides:
        name, value = text.split("=", 1)
        if value.startswith("["):
            numbers = json.loads(value)
            value = str([numbers[i % len(numbers)] for i in range(layers_of_model())])
        fitted.append(f"{name}={value}")
    return fitted


class FamilyCase(Job):
    def losses(self, name):
        return [line["loss"] for line in self.steps(name)]

    def check_members(self, members):
        """Each trains on two ranks as on one, and resumes to the same bits."""
        self.train("plain", 1, *SHORT)
        for member in members:
            with self.subTest(member):
                overrides = [*SHORT, *for_model(MEMBERS[member])]
                self.train(f"{member}-1", 1, *overrides)
                self.train(f"{member}-2", 2, *overrides, "parallel.tensor_parallel=2")
                one, two = self.losses(f"{member}-1"), self.losses(f"{member}-2")
                self.assertEqual(len(one), 4)
                # The same base at first, another function from then on.
                self.assertAlmostEqual(one[0], self.losses("plain")[0], places=5)
                self.assertGreater(abs(one[-1] - self.losses("plain")[-1]), 1e-4)
                for a, b in zip(one, two, strict=True):
                    self.assertAlmostEqual(a, b, delta=2e-4 * a)
                last = self.checkpoint_bytes(f"{member}-2", 4)
                shutil.rmtree(self.step_folder(f"{member}-2", 4))
                self.train(f"{member}-2", 2, *overrides, "parallel.tensor_parallel=2")
                self.assertEqual(self.checkpoint_bytes(f"{member}-2", 4), last)


class FamilyLongE2E(FamilyCase):
    def test_every_member_on_two_ranks_and_resumed(self):
        self.check_members(MEMBERS)


class FamilyE2E(FamilyCase):
    def test_members_with_other_tensors_on_two_ranks_and_resumed(self):
        self.check_members(["mola", "dora"])

    def test_dora_begins_as_the_base(self):
        overrides = [*SHORT, f"data.eval=[{DEV}]", "eval.max_samples_per_task=2"]
        self.train("plain", 1, *overrides)
        self.train("dora", 1, *overrides, "adapter.dora=true")
        first = [next(line for line in self.metrics(name) if line["type"] == "eval") for name in ("plain", "dora")]
        self.assertEqual(first[0]["tasks"], first[1]["tasks"])

    def test_a_router_by_task_needs_the_task_by_name(self):
        tasks = sorted({json.loads(line)["task"] for line in (ROOT / DEV).read_text().splitlines()})
        overrides = [*SHORT, "adapter.router.input=task", "adapter.router.gate=dense_softmax",
                     f"adapter.router.tasks={json.dumps(tasks)}", f"data.eval=[{DEV}]",
                     "eval.max_samples_per_task=2"]
        self.train("run", 1, *overrides)
        out, _ = self.run_molora("eval", self.folder / "run")
        for task in tasks:
            self.assertIn(task, out)
        asked = ["generate", self.folder / "run", "-p", "What is asthma?", "--max-new-tokens", 8]
        answer, _ = self.run_molora(*asked, "--task", tasks[0])
        self.assertTrue(answer.strip())
        _, log = self.run_molora(*asked, expect=EXIT_CONFIG)
        self.assertIn("no task is named; it knows " + tasks[0], log)
        _, log = self.run_molora(*asked, "--task", "cooking", expect=EXIT_CONFIG)
        self.assertIn("task 'cooking' is not among its own", log)
        _, log = self.train("missing", 1, *overrides, f"adapter.router.tasks={json.dumps(tasks[:-1])}",
                            expect=EXIT_CONFIG)
        self.assertIn(f"task '{tasks[-1]}'", log)

    def test_a_run_begins_with_the_adapter_of_another(self):
        self.train("first", 1, *SHORT)
        self.run_molora("export", self.folder / "first", "-o", self.folder / "ming", "--format", "ming",
                        "--no-check")
        evaluated = [*SHORT, f"data.eval=[{DEV}]", "eval.max_samples_per_task=2"]
        for path in ("first", "ming"):
            name = f"after-{path}"
            _, log = self.train(name, 1, *evaluated, f"adapter.init_from={self.folder / path}")
            self.assertIn("the adapter begins as that of", log)
            # What is trained begins where the other ended: its first evaluation is the other's last.
            out = self.folder / f"{name}.json"
            self.run_molora("eval", self.folder / path, "--data", DEV, "--max-samples-per-task", 2,
                            "--set", "data.max_length=96", "--json", out)
            begins = next(line for line in self.metrics(name) if line["type"] == "eval")["tasks"]
            pairs = list(zip(begins, json.loads(out.read_text()), strict=True))
            self.assertTrue(any("loss" in task for task, _ in pairs))  # of others no answer is left
            for task, other in pairs:
                self.assertAlmostEqual(task.get("loss", 0), other.get("loss", 0), places=5)
        _, log = self.train("other", 1, *evaluated, "adapter.lora_rank=8",
                            f"adapter.init_from={self.folder / 'first'}", expect=EXIT_CONFIG)
        self.assertRegex(log, re.escape("adapter.lora_rank: 8 -> 4"))
        self.assertIn("another adapter than the configuration asks for", log)

    def test_what_cannot_be_is_refused_with_the_field(self):
        for overrides, words in (
                (["adapter.num_experts_by_layer=[4]"], "one for each layer of the model, got 1"),
                (["adapter.router.heads=5"], "adapter.router.heads"),
                (["adapter.router.gate=threshold", "adapter.router.selection=sampled"], "adapter.router.selection"),
                (["adapter.router.input=task"], "adapter.router.tasks"),
                (["adapter.shared_A=true", "adapter.frozen_experts=[0]"], "adapter.frozen_experts")):
            _, log = self.train("refused", 1, *overrides, expect=EXIT_CONFIG)
            self.assertIn(words, log)
        self.train("heads", 1, *SHORT, *for_model(MEMBERS["heads"]))
        _, log = self.run_molora("export", self.folder / "heads", "-o", self.folder / "out", "--format", "ming",
                                 expect=EXIT_CONFIG)
        self.assertIn("adapter.router.heads", log)


if __name__ == "__main__":
    unittest.main()

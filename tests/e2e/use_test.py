"""Evaluating, generating and asking before training, as a person does with a result."""
import json
import re
import shutil
import unittest

from molora_job import EXIT_CONFIG, ROOT, Job


class UseE2E(Job):
    def test_eval_on_any_number_of_ranks_and_from_every_kind_of_path(self):
        self.train("run", 1, "data.eval=[tests/assets/data/multitask/dev.jsonl]",
                   "eval.max_samples_per_task=6", "data.max_length=512")
        results = []
        for number, arguments in enumerate([["--ranks", 1], ["--ranks", 3]]):
            path = self.folder / f"results-{number}.json"
            self.run_molora("eval", self.folder / "run", "--json", path, *arguments)
            results.append(json.loads(path.read_text()))
        one, three = results
        self.assertEqual(len(one), 7)
        for a, b in zip(one, three, strict=True):
            self.assertGreater(a["samples"], 0, a)
            self.assertAlmostEqual(a.pop("loss"), b.pop("loss"), places=5)
            self.assertEqual(a, b)
        # The run's own last evaluation, the checkpoint's, and the base by two ways.
        last = [line for line in self.metrics("run") if line["type"] == "eval"][-1]
        for line, result in zip(last["tasks"], json.loads((self.folder / "results-0.json").read_text()),
                                strict=True):
            self.assertAlmostEqual(line["loss"], result["loss"], places=6)
        tables = [self.run_molora("eval", *paths)[0] for paths in (
            [self.folder / "run", "--base"],
            [self.config, "--data", "tests/assets/data/multitask/dev.jsonl",
             "--max-samples-per-task", 6, "--set", "data.max_length=512"])]
        self.assertEqual(tables[0], tables[1])

    def test_generate_streams_one_and_lists_several(self):
        self.train("run", 1, "train.max_steps=2")
        one, _ = self.run_molora("generate", self.folder / "run", "-p", "What is asthma?",
                                 "--max-new-tokens", 12)
        self.assertTrue(one.strip())
        many, _ = self.run_molora("generate", self.folder / "run", "-p", "What is asthma?", "-p",
                                  "\u54b3\u55fd\u600e\u4e48\u529e\uff1f", "--max-new-tokens", 12)
        self.assertIn("### What is asthma?\n" + one, many)
        self.assertIn("### \u54b3\u55fd\u600e\u4e48\u529e\uff1f\n", many)
        again, _ = self.run_molora("generate", self.folder / "run", "-p", "What is asthma?",
                                   "--max-new-tokens", 12, "--temperature", 0.8, "--seed", 3)
        same, _ = self.run_molora("generate", self.folder / "run", "-p", "What is asthma?",
                                  "--max-new-tokens", 12, "--temperature", 0.8, "--seed", 3)
        self.assertEqual(again, same)

    def test_dry_run_prints_what_would_run_and_writes_nothing(self):
        out, _ = self.train("dry", 1)
        shutil.rmtree(self.folder / "dry")
        out, _ = self.run_molora(*self.train_arguments("dry"), "--dry-run")
        for text in ("experts_per_token: 2", "trainable", "routers", "plain LoRA", "steps", "12"):
            self.assertIn(text, out)
        self.assertNotIn("frozen experts", out)
        self.assertFalse((self.folder / "dry").exists())

    def test_dry_run_names_experts_that_are_not_trained(self):
        def trained(out):
            return int(re.search(r"trainable +([0-9,]+)", out)[1].replace(",", ""))
        out, _ = self.run_molora(*self.train_arguments("dry"), "--dry-run")
        frozen, _ = self.run_molora(
            *self.train_arguments("dry", 1, "adapter.frozen_experts=[0, 3]"), "--dry-run")
        line = re.search(r"frozen experts: 2 of 4 keep their values \(([0-9,]+) parameters\)", frozen)
        self.assertEqual(trained(out) - trained(frozen), int(line[1].replace(",", "")))

    def test_plan_reads_the_sizes_of_a_model_alone_and_starts_nothing(self):
        path = self.folder / "plan.json"
        arguments = ["plan", "configs/ming-moe.yaml", "--ranks", 16, "--set",
                     "model.path=configs/shapes/qwen1.5-7b", "--set", "parallel.tensor_parallel=2",
                     "--set", "parallel.expert_parallel=8", "--json", path]
        out, _ = self.run_molora(*arguments)
        self.assertIn("configs/shapes/qwen1.5-7b on 16 ranks: dp8 x tp2, edp2 x ep8\n", out)
        for text in ("column input", "AdamW moments", "fastest: "):
            self.assertIn(text, out)
        self.assertNotIn("as the configuration asks", out)
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        plan = json.loads(path.read_text())
        down = plan["groups"]["down"]
        self.assertEqual(set(down["modes"]), {"tokens", "rank", "gather", "replicate"})
        seconds = {mode: entry["seconds_step"]["total"] for mode, entry in down["modes"].items()}
        self.assertEqual(seconds[down["chosen"]], min(seconds.values()))
        self.assertEqual(plan["groups"]["qkv"]["chosen"], "replicate")
        self.assertAlmostEqual(plan["rank_memory"]["base"] / 7_721_324_544, 1.0, delta=0.01)
        # What is asked for is taken; a layout that cannot work is refused with what would.
        out, _ = self.run_molora(*arguments, "--set", "parallel.exchange=gather")
        self.assertIn("gather; as the configuration asks", out)
        for text in ("expert weights", "router logits", "gathered experts"):
            self.assertIn(text, out)
        _, err = self.run_molora(*arguments, "--set", "parallel.tensor_parallel=3",
                                 expect=EXIT_CONFIG)
        self.assertIn("1, 2, 4, 8 or 16 would work", err)

    def test_plan_of_every_shape_fits_the_page(self):
        for folder in sorted((ROOT / "configs" / "shapes").glob("qwen1.5-*")):
            for ranks, sizes in ((1, []), (8, ["parallel.tensor_parallel=4",
                                               "parallel.sequence_parallel=true",
                                               "parallel.expert_parallel=8"])):
                sets = [part for text in (f"model.path={folder}", *sizes) for part in ("--set", text)]
                out, _ = self.run_molora("plan", "--ranks", ranks, *sets)
                self.assertIn(f"{folder.name} on {ranks} rank", out)
                tables = out.split("\n\n")
                self.assertEqual(len(tables), 6, out)
                lines = [line for line in out.splitlines() if str(folder) not in line]
                self.assertLessEqual(max(map(len, lines)), 100)

    def test_config_lists_every_field_with_its_meaning(self):
        out, _ = self.run_molora("config")
        for field in ("experts_per_token:", "learning_rate:", "label_mask:"):
            self.assertIn(field, out)


if __name__ == "__main__":
    unittest.main()

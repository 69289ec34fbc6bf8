"""What a person is told when something is wrong: once, with the place, and with the documented code."""
import json
import re
import shutil
import unittest

from molora_job import DATA, EXIT_CONFIG, EXIT_STORAGE, MODEL, ROOT, Job, ranks_of


class ErrorsE2E(Job):
    def copy_of_a_run(self, steps):
        """A run of so many steps, `run`, that may be written to."""
        shutil.copytree(self.trained_once(f"run-{steps}", 1, f"train.max_steps={steps}"), self.folder / "run")

    def complain(self, *arguments, expect=EXIT_CONFIG):
        _, log = self.run_molora(*arguments, expect=expect)
        return log

    def test_all_faults_of_a_configuration_at_once_and_from_one_rank_only(self):
        self.config.write_text(self.config.read_text() + "trian: {max_steps: 3}\n"
                               "eval: {every: often}\n")
        for ranks in (1, 2):
            log = self.complain("train", self.config, "--ranks", ranks)
            self.assertEqual(log.count("trian"), 1, log)
            self.assertIn("train", log)
            self.assertIn(f"{self.config}:8", log)
            self.assertIn(f"{self.config}:9", log)

    def test_an_unknown_command_or_option(self):
        self.assertIn("--help", self.complain("tarin", self.config))
        self.assertIn("--set-it", self.complain("train", self.config, "--set-it", "x=1"))

    def test_a_bad_line_of_the_data_stops_the_run_and_is_named(self):
        data = self.folder / "bad.jsonl"
        good = (ROOT / "tests/assets/data/multitask/dev.jsonl").read_text().splitlines()[:3]
        data.write_text("\n".join([*good, '{"conversations": 3}', ""]))
        log = self.complain(*self.train_arguments("bad", 2, f"data.train=[{data}]"))
        self.assertIn(f"{data}:4", log)
        # Once from the rank that speaks, once in the sentence that ends the log.
        self.assertEqual(log.count(f"{data}:4"), 2, log)
        self.train("skipped", 1, f"data.train=[{data}]", "data.on_bad_sample=skip",
                   "train.max_steps=1")

    def test_a_truncated_model_is_refused_with_file_and_reason(self):
        model = self.folder / "model"
        shutil.copytree(ROOT / MODEL, model)
        weights = model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        log = self.complain(*self.train_arguments("x", 1, f"model.path={model}"))
        self.assertIn(str(weights), log)
        self.assertIn("truncated", log)

    def test_another_base_model_is_refused_with_both_fingerprints(self):
        self.copy_of_a_run(2)
        model = self.folder / "model"
        shutil.copytree(ROOT / MODEL, model)
        weights = model / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-2] ^= 1  # the lowest mantissa bits of the last value
        weights.write_bytes(content)
        log = self.complain(*self.train_arguments("run", 1, "train.max_steps=2", f"model.path={model}"))
        self.assertIn("another base model", log)
        self.assertEqual(len(set(re.findall(r"\b[0-9a-f]{32}\b", log))), 2, log)
        log = self.complain("eval", self.folder / "run", "--set", f"model.path={model}", "--data",
                            "tests/assets/data/multitask/dev.jsonl")
        self.assertIn("fingerprint", log)

    def test_the_same_weights_in_another_model_are_refused(self):
        self.copy_of_a_run(2)
        model = self.folder / "model"
        shutil.copytree(ROOT / MODEL, model)
        config = model / "config.json"
        fields = json.loads(config.read_text())
        fields["rms_norm_eps"] = 1e-5
        config.write_text(json.dumps(fields))
        log = self.complain(*self.train_arguments("run", 1, "train.max_steps=2", f"model.path={model}"))
        self.assertIn("rms_norm_eps: 1e-06 -> 1e-05", log)
        log = self.complain("eval", self.folder / "run", "--set", f"model.path={model}", "--data",
                            "tests/assets/data/multitask/dev.jsonl")
        self.assertIn("rms_norm_eps", log)

    def test_resume_none_does_not_mix_with_an_old_run(self):
        self.copy_of_a_run(1)
        log = self.complain(*self.train_arguments("run"), "--resume", "none")
        self.assertIn("holds checkpoints up to step 1", log)

    def test_only_damaged_checkpoints_never_mean_a_silent_fresh_start(self):
        self.copy_of_a_run(1)
        for manifest in (self.folder / "run/checkpoints").glob("*/manifest.pb"):
            manifest.write_bytes(b"x")
        log = self.complain(*self.train_arguments("run"), expect=EXIT_STORAGE)
        self.assertIn("none of the 1 checkpoints", log)

    def test_changed_fields_are_refused_on_resume_unless_they_are_allowed_or_harmless(self):
        self.copy_of_a_run(1)
        changed = ("train.max_steps=2", "train.learning_rate=0.001", "checkpoint.every=7")
        log = self.complain(*self.train_arguments("run", 1, *changed))
        self.assertIn("train.max_steps: 1 -> 2\n  train.learning_rate: 0.005 -> 0.001\n", log)
        self.assertNotIn("checkpoint.every", log)
        self.assertNotIn("parameters in", log, "the model need not be read for that")
        _, log = self.run_molora(*self.train_arguments("run", 1, *changed), "--allow-change")
        self.assertIn("changed since the checkpoint: checkpoint.every: 3 -> 7", log)
        self.assertIn("changed since the checkpoint, as --allow-change allows: train.learning_rate: 0.005 -> 0.001", log)

    def test_other_data_are_refused_on_resume_unless_they_are_allowed(self):
        self.copy_of_a_run(1)
        data = self.folder / "other.jsonl"
        lines = (ROOT / DATA / "dev.jsonl").read_text().splitlines(keepends=True)
        data.write_text("".join(lines[1:]))
        # The steps of the run are set by max_steps, so that the data alone differ.
        arguments = self.train_arguments("run", 1, "train.max_steps=1", f"data.train=[{data}]")
        log = self.complain(*arguments)
        self.assertIn("the training data (or their tokenization) changed since the checkpoint", log)
        _, log = self.run_molora(*arguments, "--allow-change")
        self.assertIn("the run goes on at the same place", log)

    def test_two_runs_do_not_write_into_one_folder(self):
        first = self.start(*self.train_arguments("run", 1, "train.max_steps=100000", "checkpoint.every=0"))
        self.wait_for_steps(first, "run", 1)
        holder, = ranks_of(first)
        log = self.complain(*self.train_arguments("run", 2), expect=EXIT_STORAGE)
        self.assertIn(f"held by process {holder} on ", log)
        self.assertIsNone(first.poll())
        self.kill_ranks(first)
        self.train("run", 2, "train.max_steps=2")

    def test_a_run_goes_on_with_other_experts(self):
        self.train("run", 2, "train.max_steps=2")
        grown = ("train.max_steps=2", "adapter.num_experts=6", "adapter.lora_rank=6")
        self.assertIn("adapter.num_experts: 4 -> 6", self.complain(*self.train_arguments("run", 1, *grown)))
        fewer = self.train_arguments("run", 1, "train.max_steps=2", "adapter.num_experts=3")
        log = self.complain(*fewer, "--allow-change")
        self.assertIn("drop_experts", log)
        self.assertNotIn("parameters in", log, "the model need not be read for that")
        grown = ("train.max_steps=4", *grown[1:])
        _, log = self.run_molora(*self.train_arguments("run", 2, *grown), "--allow-change")
        self.assertIn("experts of the checkpoint: ", log)
        self.assertEqual([line["step"] for line in self.steps("run")], [1, 2, 3, 4])
        self.assertEqual(self.steps("run")[-1]["expert_load"][0].__len__(), 6)
        # What was done is not done again.
        _, log = self.train("run", 2, *grown)
        self.assertNotIn("experts of the checkpoint: ", log)

    def test_steps_that_are_not_finite_are_skipped_counted_and_end_the_run(self):
        log = self.complain(*self.train_arguments("run", 2, "train.learning_rate=1e30",
                                                  "train.clip_norm=0",
                                                  "train.max_nonfinite_steps=2"))
        self.assertIn("All ranks skipped this step", log)
        self.assertIn("2 steps in a row were not finite", log)
        skipped = [line["skipped"] for line in self.steps("run")]
        self.assertEqual(skipped[-2:], [True, True])

    def test_an_output_folder_that_cannot_be_written(self):
        blocked = self.folder / "blocked"
        blocked.write_text("a file where the folder should be")
        log = self.complain(*self.train_arguments("blocked/run"), expect=EXIT_STORAGE)
        self.assertIn(str(blocked), log)


if __name__ == "__main__":
    unittest.main()

"""Runs whose frozen base is kept in int8 or nf4."""
import json
import unittest

from molora_job import EXIT_CONFIG, MODEL, ROOT, Job

FORMATS = ("int8", "nf4")


class QuantizedE2E(Job):
    def train_quantized(self, name, ranks, format, *overrides):
        return self.train(name, ranks, f"model.quantization={format}", *overrides)

    def on_one_rank(self, format):
        return self.trained_once(format, 1, f"model.quantization={format}")

    def test_training_lowers_the_loss_near_the_one_of_the_plain_base(self):
        """The plain model's loss is that of other numbers; int8 is nearer to it than nf4."""
        self.train("none")
        plain = self.steps("none")
        first_gaps = []
        for format in FORMATS:
            steps = self.steps(self.on_one_rank(format))
            self.assertEqual(len(steps), len(plain))
            first_gaps.append(abs(steps[0]["loss"] - plain[0]["loss"]))
            self.assertNotEqual(steps[0]["loss"], plain[0]["loss"])
            self.assertLess(steps[-1]["loss"], steps[0]["loss"])
            self.assertAlmostEqual(steps[-1]["loss"], plain[-1]["loss"], delta=0.1)
        self.assertLess(first_gaps[0], first_gaps[1])

    def test_layouts_have_the_same_losses(self):
        for format in FORMATS:
            self.train_quantized(f"{format}-4", 4, format, "parallel.tensor_parallel=2",
                                 "parallel.expert_parallel=2", "parallel.sequence_parallel=true")
            for one, four in zip(self.steps(self.on_one_rank(format)), self.steps(f"{format}-4"), strict=True):
                self.assertAlmostEqual(one["loss"], four["loss"], places=5)

    def test_a_killed_run_goes_on_with_the_same_bits(self):
        self.train_quantized("whole", 2, "nf4")
        arguments = self.train_arguments("killed", 2, "model.quantization=nf4")
        process = self.start(*arguments)
        self.wait_for_steps(process, "killed", 5)
        self.kill_ranks(process)
        self.run_molora(*arguments)
        self.assertEqual(self.metrics("killed"), self.metrics("whole"))
        self.assertEqual(self.checkpoint_bytes("killed", 12), self.checkpoint_bytes("whole", 12))

    def test_another_quantization_is_refused_on_resume_unless_it_is_allowed(self):
        """The base's fingerprint is that of the published weights: only the configuration tells."""
        _, log = self.train_quantized("run", 1, "nf4", "train.max_steps=1")
        self.assertIn("linears of the layers are kept as nf4: ", log)
        arguments = self.train_arguments("run", 1, "model.quantization=int8", "train.max_steps=2")
        _, log = self.run_molora(*arguments, expect=EXIT_CONFIG)
        self.assertIn("model.quantization: nf4 -> int8\n", log)
        self.assertIn("--allow-change", log)
        _, log = self.run_molora(*arguments, "--allow-change")
        self.assertIn("model.quantization: nf4 -> int8", log)
        self.assertEqual([line["step"] for line in self.steps("run")], [1, 2])

    def test_eval_and_generate_use_the_base_of_the_run(self):
        data = ("data.eval=[tests/assets/data/multitask/dev.jsonl]", "eval.max_samples_per_task=6",
                "data.max_length=512")
        self.train_quantized("run", 1, "nf4", *data)
        path = self.folder / "results.json"
        self.run_molora("eval", self.folder / "run", "--json", path, "--ranks", 2)
        last = [line for line in self.metrics("run") if line["type"] == "eval"][-1]
        for line, result in zip(last["tasks"], json.loads(path.read_text()), strict=True):
            self.assertAlmostEqual(line["loss"], result["loss"], places=5)
        out, _ = self.run_molora("generate", self.folder / "run", "-p", "What is asthma?",
                                 "--max-new-tokens", 12)
        self.assertTrue(out.strip())

    def test_the_model_folder_is_not_touched(self):
        folder = ROOT / MODEL
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        _, log = self.train_quantized("run", 1, "int8", "train.max_steps=1")
        self.assertIn("linears of the layers are kept as int8: ", log)
        self.assertEqual({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}, before)


if __name__ == "__main__":
    unittest.main()

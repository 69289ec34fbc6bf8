"""tools/compare_adapters.py: as many parameters for both, numbers that are those of molora eval, nothing done twice."""
import json
import re
import subprocess
import sys
import unittest

from molora_job import MOLORA, ROOT, Job

CONFIG = "configs/medqwen3-multitask.yaml"
FAST = ("train.max_steps=2", "train.global_batch_size=2", "train.micro_batch_size=2", "eval.max_samples_per_task=2")


class CompareE2E(Job):
    def compare(self):
        sets = [word for override in FAST for word in ("--set", override)]
        done = subprocess.run([sys.executable, "tools/compare_adapters.py", self.folder / "out", CONFIG, *sets,
                               "--seeds", "1", "2", "--molora", MOLORA], cwd=ROOT, text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_page_has_what_was_measured(self):
        said = self.compare()
        trained = {name: int(number.replace(",", "")) for name, number in
                   re.findall(r"^(\w+): ([\d,]+) trained parameters", said, re.M)}
        self.assertEqual(trained.keys(), {"lora", "mixture"})
        self.assertLess(abs(trained["lora"] / trained["mixture"] - 1), 0.02)

        page = (self.folder / "out" / "comparison.md").read_text()
        runs = [json.loads((self.folder / "out" / f"mixture-{seed}.json").read_text()) for seed in (1, 2)]
        losses = [next(task["loss"] for task in run if task["task"] == "medquad") for run in runs]
        self.assertNotEqual(*losses)
        row = re.search(r"^\| medquad \| 2 \| \S+ \| .* \| ([\d.]+) \+- [\d.]+ \|$", page, re.M)
        self.assertAlmostEqual(float(row.group(1)), sum(losses) / 2, delta=6e-4)
        self.assertEqual(page.count("| mixture - lora | "), 4)

        # Everything is there: the second time only the page is written.
        before = {path: path.stat().st_mtime_ns for path in (self.folder / "out").glob("*.json")}
        self.assertNotIn("training", self.compare())
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in before})


if __name__ == "__main__":
    unittest.main()

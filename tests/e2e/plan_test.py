"""Planning for GPUs that are not there, as a lab does before it asks for them."""
import json
import subprocess
import unittest

from molora_job import EXIT_CONFIG, ROOT, Job

SHAPE = "model.path=configs/shapes/qwen2.5-72b"


class PlanGpusE2E(Job):
    def plan(self, *arguments, expect=0):
        return self.run_molora("plan", "configs/ming-moe.yaml", "--set", SHAPE, "--set",
                               "data.max_length=4096", *arguments, expect=expect)

    def test_what_is_to_be_pasted_is_a_configuration(self):
        path = self.folder / "plan.json"
        out, _ = self.plan("--gpus", 512, "--gpu", "h100", "--link", "nvlink+ib400", "--json", path,
                           "--set", "train.global_batch_size=1024")
        best = json.loads(path.read_text())["best"]
        self.assertIn(best["yaml"], out)
        pasted = self.folder / "pasted.yaml"
        pasted.write_text(best["yaml"])
        out, _ = self.run_molora("plan", "configs/ming-moe.yaml", pasted, "--set", SHAPE, "--ranks", 512)
        self.assertIn(f"dp{best['dp']} x tp{best['tp']}, ", out)

    def test_what_cannot_be_planned_is_refused_with_what_can(self):
        _, err = self.plan("--gpus", 8, "--gpu", "h1000", expect=EXIT_CONFIG)
        self.assertIn("known are a100-80g, b200, cpu, h100, h200, l40s", err)
        _, err = self.plan("--gpus", 8, "--gpu", "h100", "--link", "nvlnk", expect=EXIT_CONFIG)
        self.assertIn("did you mean 'nvlink'?", err)
        _, err = self.plan("--gpus", 16, "--gpu", "h100", "--link", "nvlink", expect=EXIT_CONFIG)
        self.assertIn("--link nvlink+ib400", err)

    def test_the_files_of_machines_are_found_from_anywhere(self):
        done = subprocess.run(
            self.command("plan", "--gpus", 8, "--gpu", "a100-80g", "--set",
                         f"model.path={ROOT}/configs/shapes/qwen1.5-7b", "--set", "model.precision=bf16"),
            cwd=self.folder, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("on 8 x NVIDIA A100", done.stdout)


if __name__ == "__main__":
    unittest.main()

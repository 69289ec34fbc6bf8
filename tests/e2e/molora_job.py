"""Running the built program as its users do, for the end-to-end tests: start, watch, kill, compare."""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOLORA = os.environ.get("MOLORA_PROGRAM", str(ROOT / "build" / "bin" / "molora"))
MODEL = "tests/assets/models/medqwen3-1m"
DATA = "tests/assets/data/multitask"

EXIT_DONE, EXIT_CONFIG, EXIT_STORAGE, EXIT_REQUEUE = 0, 64, 74, 75

# A run small enough to be repeated many times: 12 steps of 8 rows.
SMALL_RUN = f"""
model: {{path: {MODEL}}}
adapter: {{num_experts: 4, experts_per_token: 2, lora_rank: 4, lora_alpha: 8}}
data: {{train: [{DATA}/dev.jsonl], max_length: 128, packing: true}}
train: {{max_steps: 12, global_batch_size: 8, micro_batch_size: 2, learning_rate: 0.005}}
checkpoint: {{every: 3, keep_last: 2}}
"""


def ranks_of(supervisor):
    """Process ids of the ranks that a `molora --ranks N` process has started."""
    def children(pid):
        try:
            return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []
    return [rank for mpirun in children(supervisor.pid) for rank in children(mpirun)]


class Job(unittest.TestCase):
    """A test with a folder of its own and helpers to run molora in it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="molora-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.config = self.folder / "run.yaml"
        self.config.write_text(SMALL_RUN)

    def command(self, *arguments):
        return [MOLORA, *map(str, arguments)]

    def start(self, *arguments):
        process = subprocess.Popen(self.command(*arguments), cwd=ROOT, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def run_molora(self, *arguments, expect=EXIT_DONE):
        """Runs to the end; returns (standard output, standard error)."""
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True,
                              timeout=600)
        self.assertEqual(done.returncode, expect, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done.stdout, done.stderr

    def train_arguments(self, name, ranks=1, *overrides):
        sets = [part for text in (f"output_dir={self.folder / name}", *overrides)
                for part in ("--set", text)]
        return ["train", self.config, "--ranks", ranks, *sets]

    def train(self, name, ranks=1, *overrides, expect=EXIT_DONE):
        return self.run_molora(*self.train_arguments(name, ranks, *overrides), expect=expect)

    def metrics(self, name):
        """The lines of metrics.jsonl, without what depends on the clock."""
        path = self.folder / name / "metrics.jsonl"
        lines = []
        for text in path.read_text().splitlines(keepends=True) if path.exists() else []:
            if text.endswith("\n"):
                line = json.loads(text)
                line.pop("timing", None)
                lines.append(line)
        return lines

    def steps(self, name):
        return [line for line in self.metrics(name) if line["type"] == "step"]

    def checkpoint_bytes(self, name, step):
        """The files of a committed checkpoint that hold numbers."""
        folder = self.folder / name / "checkpoints" / f"step-{step:08}"
        files = sorted(folder.glob("*.safetensors"))
        self.assertTrue(files, folder)
        return {file.name: file.read_bytes() for file in files}

    def wait_for_steps(self, process, name, count, timeout=120):
        """Returns when `count` steps are in the metrics, or the process has ended."""
        deadline = time.monotonic() + timeout
        while len(self.steps(name)) < count and process.poll() is None:
            self.assertLess(time.monotonic(), deadline, f"no step {count} after {timeout} s")
            time.sleep(0.01)

    def kill_ranks(self, process):
        """kill -9 of every rank, or of the process itself when it is the only one."""
        for pid in ranks_of(process) or [process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        output, _ = process.communicate(timeout=60)
        return output

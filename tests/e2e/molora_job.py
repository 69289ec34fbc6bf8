"""Running the built program as its users do, for the end-to-end tests: start, watch, kill, compare."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from checkpoint_tensors import whole_tensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOLORA = os.environ.get("MOLORA_PROGRAM", str(ROOT / "build" / "bin" / "molora"))
MODEL = "tests/assets/models/medqwen3-1m"
DATA = "tests/assets/data/multitask"
# tests/support/fault_shim.c says what it does.
FAULT_SHIM = os.environ.get("MOLORA_FAULT_SHIM", str(ROOT / "build" / "lib" / "molora_fault_shim.so"))

EXIT_DONE, EXIT_CONFIG, EXIT_INTERNAL, EXIT_MEMORY, EXIT_STORAGE, EXIT_REQUEUE, EXIT_PEER = (
    0, 64, 70, 71, 74, 75, 76)

# A run small enough to be repeated many times: 12 steps of 8 rows. Which way experts are computed is
# named: two runs that measure it may round differently.
SMALL_RUN = f"""
model: {{path: {MODEL}}}
adapter: {{num_experts: 4, experts_per_token: 2, lora_rank: 4, lora_alpha: 8, expert_compute: dense}}
data: {{train: [{DATA}/dev.jsonl], max_length: 128, packing: true}}
train: {{max_steps: 12, global_batch_size: 8, micro_batch_size: 2, learning_rate: 0.005}}
checkpoint: {{every: 3, keep_last: 2}}
supervisor: {{max_restarts: 0}}
"""

# A run whose start, steps and saves take as little as possible, for tests that start it again and again. It
# saves after steps 10 and 20 and at the end; in MEMORY a save takes a few of its steps, so none is passed over.
TINY_STEPS, TINY_SAVES = 22, (10, 20, 22)
TINY_RUN = f"""
model: {{path: {MODEL}}}
adapter:
  num_experts: 2
  experts_per_token: 1
  lora_rank: 2
  lora_alpha: 4
  expert_compute: dense
  targets: {{q_proj: lora, k_proj: frozen, v_proj: frozen, o_proj: frozen,
            gate_proj: frozen, up_proj: frozen, down_proj: experts}}
data: {{train: [{DATA}/dev.jsonl], max_length: 48, packing: true, cache_dir: FOLDER/cache}}
train: {{max_steps: {TINY_STEPS}, global_batch_size: 2, micro_batch_size: 1, learning_rate: 0.005}}
checkpoint: {{every: 10, keep_last: 1}}
supervisor: {{max_restarts: 0, report_every: 0}}
"""


def environment_with(fault):
    """The environment of a process in which file calls go wrong; `fault`: key -> value of the shim."""
    if not fault:
        return None
    words = ",".join(f"{key}={value}" for key, value in fault.items())
    # When a rank is killed, mpirun kills the others; here without the second that it gives them to end.
    return {**os.environ, "LD_PRELOAD": FAULT_SHIM, "MOLORA_TEST_FAULT": words,
            "OMPI_MCA_odls_base_sigkill_timeout": "0"}


def children_of(pid):
    try:
        return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants_of(pid):
    return [pid for child in children_of(pid) for pid in [child, *descendants_of(child)]]


def ranks_of(supervisor):
    """Process ids of the worker processes of a `molora train` process: what its agents have forked."""
    def is_molora(pid):
        try:
            return os.path.samefile(f"/proc/{pid}/exe", MOLORA)
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False
    agents = [pid for pid in descendants_of(supervisor.pid) if is_molora(pid)]
    return [worker for agent in agents for worker in children_of(agent) if is_molora(worker)]


# A folder whose files are in memory, where a sync takes no time; None where there is no such folder.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Job(unittest.TestCase):
    """A test with a folder of its own and helpers to run molora in it."""
    PARENT_FOLDER = None  # that of all temporary folders

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="molora-e2e-", dir=self.PARENT_FOLDER)
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.config = self.folder / "run.yaml"
        self.config.write_text(SMALL_RUN)

    def trained_once(self, name, ranks=1, *overrides):
        """The folder of a run that the first test of the class to ask for it trains; not to be written to."""
        cls = type(self)
        if "shared_folder" not in vars(cls):
            folder = tempfile.TemporaryDirectory(prefix="molora-e2e-", dir=self.PARENT_FOLDER)
            cls.addClassCleanup(folder.cleanup)
            cls.shared_folder = pathlib.Path(folder.name)
        run = cls.shared_folder / name
        if not run.exists():
            self.train(run, ranks, *overrides)
        return run

    def command(self, *arguments):
        return [MOLORA, *map(str, arguments)]

    def start(self, *arguments, fault=None):
        process = subprocess.Popen(self.command(*arguments), cwd=ROOT, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=environment_with(fault))
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def run_molora(self, *arguments, expect=EXIT_DONE, fault=None):
        """Runs to the end; returns (standard output, standard error)."""
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True,
                              timeout=600, env=environment_with(fault))
        self.assertEqual(done.returncode, expect, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done.stdout, done.stderr

    def train_arguments(self, name, ranks=1, *overrides):
        sets = [part for text in (f"output_dir={self.folder / name}", *overrides)
                for part in ("--set", text)]
        return ["train", self.config, "--ranks", ranks, *sets]

    def train(self, name, ranks=1, *overrides, expect=EXIT_DONE, fault=None):
        return self.run_molora(*self.train_arguments(name, ranks, *overrides), expect=expect, fault=fault)

    def metrics(self, name):
        """The lines of metrics.jsonl, without what depends on the clock."""
        path = self.folder / name / "metrics.jsonl"
        lines = []
        for text in path.read_text().splitlines(keepends=True) if path.exists() else []:
            if text.endswith("\n"):
                line = json.loads(text)
                line.pop("timing", None)
                line.pop("recomputed", None)
                lines.append(line)
        return lines

    def steps(self, name):
        return [line for line in self.metrics(name) if line["type"] == "step"]

    def checkpoints(self, name):
        return self.folder / name / "checkpoints"

    def step_folder(self, name, step):
        return self.checkpoints(name) / f"step-{step:08}"

    def whole_tensors(self, name, step):
        tensors = whole_tensors(self.step_folder(name, step))
        self.assertTrue(tensors, f"{name}, step {step}")
        return tensors

    def checkpoint_bytes(self, name, step):
        """The files of a committed checkpoint that hold numbers."""
        folder = self.step_folder(name, step)
        files = sorted(folder.glob("*.safetensors"))
        self.assertTrue(files, folder)
        return {file.name: file.read_bytes() for file in files}

    def wait_for_steps(self, process, name, count, timeout=120):
        """Returns when `count` steps are in the metrics, or the process has ended."""
        deadline = time.monotonic() + timeout
        while len(self.steps(name)) < count and process.poll() is None:
            self.assertLess(time.monotonic(), deadline, f"no step {count} after {timeout} s")
            time.sleep(0.01)

    def kill_ranks(self, process, choose=lambda ranks: ranks):
        """kill -9 of every rank, or of those that are chosen; of the process itself when it is the only one."""
        for pid in choose(ranks_of(process)) or [process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        output, _ = process.communicate(timeout=60)
        return output


class TinyJob(Job):
    """Runs of TINY_RUN on two ranks that end badly, are started again, and must equal one that was left alone."""
    RANKS = 2

    def setUp(self):
        super().setUp()
        self.config.write_text(TINY_RUN.replace("FOLDER", str(self.folder)))

    def train_to_the_end(self, name, *overrides, expect=EXIT_DONE, fault=None):
        """Returns what the run wrote."""
        out, log = self.train(name, self.RANKS, *overrides, expect=expect, fault=fault)
        return out + log

    def train_until_killed(self, name, fault, *overrides):
        process = self.start(*self.train_arguments(name, self.RANKS, *overrides), fault=fault)
        output, _ = process.communicate(timeout=300)
        self.assertNotIn(process.returncode, (EXIT_DONE, EXIT_STORAGE, EXIT_REQUEUE), f"{fault}\n{output}")
        return output

    def read_calls(self, log):
        """[(operation, path)] of a log of the shim."""
        return [tuple(line.split(" ")[1:3]) for line in log.read_text().splitlines()]

    def forget(self, name):
        """Makes room: a folder in memory may be small."""
        shutil.rmtree(self.folder / name)

    def resumed_step(self, log):
        """From which step a run said that it went on; 0 when it began afresh."""
        found = re.search(r"resuming from \S+ \((\d+) steps done\)", log)
        return int(found.group(1)) if found else 0

    def assert_nothing_left_over(self, name):
        left = [str(path) for path in self.checkpoints(name).rglob("*") if ".tmp" in path.name]
        self.assertEqual(left, [])

    def assert_same_run(self, name, reference, steps=TINY_STEPS):
        self.assertEqual(self.metrics(name), self.metrics(reference), name)
        self.assertEqual(self.whole_tensors(name, steps), self.whole_tensors(reference, steps), name)
        self.assert_nothing_left_over(name)

    def wait_for_ranks(self, process):
        """Returns when all ranks are there: steps of an earlier start may be in the metrics before that."""
        deadline = time.monotonic() + 60
        while len(ranks_of(process)) < self.RANKS and process.poll() is None:
            self.assertLess(time.monotonic(), deadline, "the ranks do not start")
            time.sleep(0.01)

    def kill_at_steps(self, name, steps, dice, *overrides):
        """Starts the same command again and again; kills one rank, or all, a moment after each of these steps."""
        for step in steps:
            process = self.start(*self.train_arguments(name, self.RANKS, *overrides))
            self.wait_for_ranks(process)
            self.wait_for_steps(process, name, step)
            time.sleep(dice.uniform(0.0, 0.03))
            self.assertIsNone(process.poll(), f"ended before step {step} could be interrupted")
            is_one = dice.random() < 0.5
            output = self.kill_ranks(process, (lambda ranks: [dice.choice(ranks)]) if is_one else list)
            self.assertNotEqual(process.returncode, EXIT_DONE, output)

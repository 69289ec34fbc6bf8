"""What becomes of a run when one of its ranks breaks: the right name, the right exit code, the right action.

The faults are the product's own (src/watch/fault_injection.h); the supervisor does not know of them."""
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import unittest

from molora_job import EXIT_CONFIG, EXIT_DONE, EXIT_INTERNAL, EXIT_MEMORY, EXIT_PEER, MOLORA, ROOT, TinyJob

# Seconds; what a rank may take without progress in these tests. Machines that run them are busy.
DEADLINE = 8
WATCHED = (f"supervisor.deadlines.step={DEADLINE}", f"supervisor.deadlines.save={DEADLINE}",
           f"supervisor.deadlines.evaluate={DEADLINE}", "supervisor.restart_delay=0.1",
           f"supervisor.heartbeat_timeout={DEADLINE}")
# What the supervisor promises, and what a busy machine may add.
AFTER_DEADLINE = 10
SLACK = 20


def shared_memory():
    return set(os.listdir("/dev/shm"))


class FaultCase(TinyJob):
    """Runs of two ranks with a fault in them."""

    def setUp(self):
        super().setUp()
        self.shared_before = shared_memory()

    def start_with(self, name, faults, *overrides, ranks=None, **popen):
        environment = {**os.environ, "MOLORA_FAULT": faults}
        command = self.command(*self.train_arguments(name, ranks or self.RANKS, *WATCHED, *overrides))
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=environment, **popen)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def end_of(self, process, timeout=180):
        output, _ = process.communicate(timeout=timeout)
        return output

    @staticmethod
    def pauses_before(step, attempt, rank):
        """Faults that let a save of four steps before be finished: in one pause the ranks write, in the next, after
        all have told that they have, it is committed."""
        return [f"attempt={attempt},step={paused},rank={rank},phase=forward,kind=slow,seconds=1.5"
                for paused in (step - 2, step - 1)]

    def run_with(self, name, faults, *overrides, expect, **more):
        """Runs to the end; returns what was printed. Nothing of the run is left behind."""
        process = self.start_with(name, faults, *overrides, **more)
        output = self.end_of(process)
        self.assertEqual(process.returncode, expect, output)
        self.assert_nothing_left(name)
        return output

    def assert_nothing_left(self, name):
        mark = f"output_dir={self.folder / name}"
        left = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "cmdline").read_text():
                    left.append(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                pass
        self.assertEqual(left, [], "processes that outlived their run")
        mine = {n for n in shared_memory() - self.shared_before if "vader" in n or "nccl" in n}
        self.assertEqual(mine, set(), "shared memory that outlived its run")

    def reason(self, name):
        return json.loads((self.folder / name / "reason.json").read_text())

    def reasons(self, name):
        path = self.folder / name / "logs" / "faults.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def check_end(self, fault, kind, code, rank=1, says=(), overrides=()):
        """A run that is not restarted ends with the code; its last line and its reason name what was the matter."""
        output = self.run_with("end", fault, *overrides, expect=code)
        reason = self.reason("end")
        self.assertEqual(reason["fault"], kind, reason)
        self.assertEqual(reason["exit_code"], code)
        self.assertEqual(reason.get("rank"), rank, reason)
        last = output.rstrip().splitlines()[-1]
        self.assertIn(reason["sentence"], last)
        for text in says:
            self.assertIn(text, last)
        return reason, output

    def check_recovery(self, name, fault, num_faults=1):
        """A run that is restarted comes to the bits of one that was left alone."""
        output = self.run_with(name, fault, "supervisor.max_restarts=3", expect=EXIT_DONE)
        self.assertEqual(len(self.reasons(name)), num_faults, output)
        self.assertFalse((self.folder / name / "reason.json").exists())
        self.assert_same_run(name, self.trained_once("whole", self.RANKS))
        return output


class FaultE2E(FaultCase):
    """One fault of each kind."""

    def test_killed_rank_is_named_and_the_run_goes_on(self):
        faults = ";".join([*self.pauses_before(14, 1, 1), "step=14,rank=1,phase=backward,kind=kill"])
        self.check_recovery("killed", faults)
        reason = self.reasons("killed")[0]
        self.assertEqual((reason["fault"], reason["rank"], reason["exit_code"]), ("FAULT_LOST", 1, EXIT_PEER))
        self.assertEqual(int(reason["step"]), 14)
        self.assertEqual(int(reason["saved_step"]), 10)
        self.assertIn("signal 9", reason["sentence"])
        self.check_rank_files("killed")

    def test_stopped_rank_is_found_in_its_deadline(self):
        process = self.start_with("stopped", "step=14,rank=1,phase=forward,kind=stop", "supervisor.max_restarts=3")
        self.wait_for_steps(process, "stopped", 13)
        begin = time.monotonic()
        faults = self.folder / "stopped" / "logs" / "faults.jsonl"
        while not faults.exists() and process.poll() is None:
            self.assertLess(time.monotonic() - begin, 2 * DEADLINE + AFTER_DEADLINE + SLACK)
            time.sleep(0.05)
        output = self.end_of(process)
        self.assertEqual(process.returncode, EXIT_DONE, output)
        reason = self.reasons("stopped")[0]
        self.assertEqual((reason["fault"], reason["rank"], reason["exit_code"]), ("FAULT_HANG", 1, EXIT_PEER), reason)
        self.assertIn("stopped", reason["sentence"])
        self.assertGreater(int(reason["sequence"]), 0)
        self.assertTrue(reason["operation"])
        self.assert_same_run("stopped", self.trained_once("whole", self.RANKS))
        self.assert_nothing_left("stopped")

    def test_skipped_collective_is_named(self):
        self.check_recovery("skipped", "step=14,rank=1,phase=sync,kind=skip")
        reason = self.reasons("skipped")[0]
        self.assertEqual((reason["exit_code"], reason.get("rank")), (EXIT_PEER, 1), reason)
        self.assertIn("gradient sums", reason["place"] + reason["sentence"])

    def test_exception_in_a_step_a_save_and_an_evaluation(self):
        for phase, step in (("forward", 14), ("save", 20), ("evaluate", 15)):
            with self.subTest(phase=phase):
                overrides = ("eval.every=5", "eval.at_start=false", "data.eval=[tests/assets/data/multitask/dev.jsonl]",
                             "eval.max_samples_per_task=1") if phase == "evaluate" else ()
                name = f"throw-{phase}"
                self.run_with(name, f"step={step},rank=1,phase={phase},kind=throw", "supervisor.max_restarts=3",
                              *overrides, expect=EXIT_DONE)
                reason, = self.reasons(name)
                self.assertEqual((reason["fault"], reason["rank"], reason["exit_code"]),
                                 ("FAULT_INTERNAL", 1, EXIT_INTERNAL), reason)
                self.assertIn("thrown on request", reason["sentence"])
                where = f"after step {step}" if phase in ("save", "evaluate") else f"in step {step}"
                self.assertIn(where, reason["sentence"])

    def test_nan_on_one_rank_is_computed_again(self):
        output = self.check_recovery("nan", "step=14,rank=1,phase=backward,kind=nan", num_faults=0)
        self.assertRegex(output, r"step 14: .*computed again.*rank 1")

    def test_rank_that_leaves_early(self):
        self.check_end("step=14,rank=1,phase=forward,kind=exit", "FAULT_EARLY_EXIT", EXIT_INTERNAL, says=("code 0",))

    def test_crash(self):
        _, output = self.check_end("step=14,rank=1,phase=forward,kind=segfault", "FAULT_CRASH", EXIT_INTERNAL,
                                   says=("signal 11",))
        self.assertIn("SIGSEGV", output)

    def check_rank_files(self, name):
        """Both starts are in the file of each rank, and what the launcher said is kept."""
        logs = self.folder / name / "logs"
        for rank in range(self.RANKS):
            text = (logs / f"rank-{rank}.log").read_text()
            self.assertEqual(text.count("--- start"), 2, text)
        self.assertIn("training", (logs / "rank-0.log").read_text())
        self.assertTrue((logs / "launcher.log").exists())

    def test_bad_configuration_is_never_restarted(self):
        output = self.run_with("bad", "", "parallel.tensor_parallel=2", "model.path=tests/assets/models/none",
                               "supervisor.max_restarts=3", expect=EXIT_CONFIG)
        self.assertNotIn("restart", output)

    def test_bad_data_is_never_restarted(self):
        data = self.folder / "data.jsonl"
        data.write_text('{"conversations": 7}\n')
        output = self.run_with("data", "", f"data.train=[{data}]", "supervisor.max_restarts=3", expect=EXIT_CONFIG)
        reason = self.reason("data")
        self.assertEqual(reason["fault"], "FAULT_DATA", reason)
        self.assertIn("data.jsonl", output.rstrip().splitlines()[-1])


class FaultLimitsE2E(FaultCase):
    """When the supervisor gives up."""

    def test_no_progress_ends_the_run(self):
        # The kill comes after the save of step 10: a restart that gets further is progress.
        faults = ";".join([*self.pauses_before(14, 0, 0), "attempt=0,step=14,rank=0,phase=forward,kind=kill"])
        output = self.run_with("loop", faults, "supervisor.max_restarts=2", expect=EXIT_PEER)
        reasons = self.reasons("loop")
        self.assertEqual(len(reasons), 3)
        self.assertEqual([int(r["attempt"]) for r in reasons], [1, 2, 3])
        self.assertIn("started again 2 times", output.rstrip().splitlines()[-1])

    def test_progress_resets_the_budget(self):
        faults = ";".join(fault for a, s in ((1, 8), (2, 12))
                          for fault in (*self.pauses_before(s, a, a % 2),
                                        f"attempt={a},step={s},rank={a % 2},phase=update,kind=kill"))
        self.run_with("budget", faults, "supervisor.max_restarts=1", "checkpoint.every=4", expect=EXIT_DONE)
        self.assertEqual([int(r["saved_step"]) for r in self.reasons("budget")], [4, 8])

    def test_supervisor_killed_takes_all_along(self):
        process = self.start_with("orphans", "")
        self.wait_for_steps(process, "orphans", 3)
        process.send_signal(signal.SIGKILL)
        self.end_of(process)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.assert_nothing_left("orphans")
                break
            except AssertionError:
                time.sleep(0.2)
        self.assert_nothing_left("orphans")

    def test_out_of_memory_in_a_control_group(self):
        group = pathlib.Path(f"/sys/fs/cgroup/memory/molora-test-{os.getpid()}")
        if not pathlib.Path("/sys/fs/cgroup/memory").exists():
            group = pathlib.Path(f"/sys/fs/cgroup/molora-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError as error:
            self.skipTest(f"no control group of its own to be out of memory in: {error}")
        self.addCleanup(group.rmdir)
        v1 = (group / "memory.limit_in_bytes").exists()
        (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(3 << 30))
        enter = lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        output = self.run_with("memory", "step=14,rank=1,phase=forward,kind=memory,mib=6000", expect=EXIT_MEMORY,
                               preexec_fn=enter)
        reason = self.reason("memory")
        self.assertEqual((reason["fault"], reason["rank"]), ("FAULT_MEMORY", 1), reason)
        self.assertIn("memory", output.rstrip().splitlines()[-1])


class FaultUnderOwnMpirunE2E(FaultCase):
    """Without a supervisor the agents hold their workers to the deadlines."""

    def start_mpirun(self, name, faults):
        sets = [part for text in (f"output_dir={self.folder / name}", *WATCHED) for part in ("--set", text)]
        environment = {**os.environ, "MOLORA_FAULT": faults, "OMPI_ALLOW_RUN_AS_ROOT": "1",
                       "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
                       "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(["mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none", MOLORA, "train",
                                    str(self.config), *sets], cwd=ROOT, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=environment)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def test_same_result_as_under_the_supervisor(self):
        output = self.end_of(process := self.start_mpirun("plain", ""))
        self.assertEqual(process.returncode, EXIT_DONE, output)
        self.train_to_the_end("whole")
        self.assert_same_run("plain", "whole")

    def test_stopped_rank_is_named(self):
        output = self.end_of(process := self.start_mpirun("stop", "step=14,rank=1,phase=forward,kind=stop"))
        self.assertEqual(process.returncode, EXIT_PEER, output)
        reason = self.reason("stop")
        self.assertEqual((reason["fault"], reason["rank"]), ("FAULT_HANG", 1), output)
        self.assert_nothing_left("stop")


class FaultStorm(FaultCase):
    """Faults at random over one run: it finishes, and nothing shows."""
    KINDS = ("kill", "throw", "segfault", "exit", "nan", "bitflip", "slow", "stop", "skip")
    PHASES = {"nan": ("backward",), "bitflip": ("backward",), "skip": ("forward", "backward", "sync", "update")}

    def storm(self, num_faults, steps, seed):
        dice = random.Random(seed)
        faults, attempt = [], 1
        moments = sorted(dice.sample(range(9, steps - 1), num_faults))
        for moment in moments:
            kind = dice.choice(self.KINDS)
            phase = dice.choice(self.PHASES.get(kind, ("forward", "backward", "sync", "update", "save")))
            faults.append(f"attempt={attempt},step={moment},rank={dice.randrange(2)},phase={phase},kind={kind}")
            if kind not in ("nan", "bitflip", "slow"):
                attempt += 1
        overrides = (f"train.max_steps={steps}", "checkpoint.every=5", "parallel.tensor_parallel=2")
        output = self.run_with("storm", ";".join(faults), "supervisor.max_restarts=50", *overrides, expect=EXIT_DONE)
        self.train_to_the_end("whole", *overrides)
        self.assertEqual(len(self.reasons("storm")), attempt - 1, output)
        self.assert_same_run("storm", "whole", steps)
        return output


class FaultStormShortE2E(FaultStorm):
    def test_5_faults_in_40_steps(self):
        self.storm(5, 40, seed=3)


class FaultStormLongE2E(FaultStorm):
    def test_20_faults_in_200_steps(self):
        self.storm(20, 200, seed=4)


if __name__ == "__main__":
    unittest.main()

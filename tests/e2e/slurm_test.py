"""The batch scripts of cluster/slurm on a real Slurm of two nodes: they give the numbers of mpirun, save when Slurm
warns them, go on by themselves, and leave nothing behind. tests/cluster/slurm_cluster.sh has the cluster."""
import os
import signal
import stat
import unittest

from molora_job import MOLORA, ROOT
from slurm_job import STEPS, SlurmJob, marked_processes, processes_of

ON_TWO_NODES = ("--nodes=2", "--ntasks-per-node=1")


class SlurmE2E(SlurmJob):
    def test_srun_and_both_forms_of_sbatch_equal_mpirun(self):
        self.on("login", "srun", "--mpi=pmix", "-N2", "-n2", MOLORA, "train", self.config,
                "--set", f"output_dir={self.folder / 'direct'}")
        self.assert_same_run("direct", self.whole("small"))
        for launcher in ("srun", "mpirun"):
            job = self.submit("many_nodes.sbatch", self.config, "--set", f"output_dir={self.folder / launcher}",
                              options=ON_TWO_NODES, MOLORA_LAUNCHER=launcher)
            self.wait_for_end(job)
            self.assert_same_run(launcher, self.whole("small"))

    def test_a_warned_job_saves_comes_back_and_ends_with_the_same_bits(self):
        job = self.submit("many_nodes.sbatch", self.config, options=ON_TWO_NODES)
        self.wait_for_step("run", 4)
        self.warn(job)
        self.wait_for_state(job, "PENDING")
        saved = max(path.name for path in self.checkpoints("run").glob("step-*"))
        self.assertIn("saved and stopped: back to the queue", self.log(job))
        self.assertLess(len(self.steps("run")), STEPS)
        self.assert_no_process_left()

        self.start_again_now(job)
        self.wait_for_end(job)
        self.assertEqual(self.job(job)["Restarts"], "1")
        log = self.log(job)  # of both starts, in one file
        self.assertRegex(log, rf"(?s)start 1: .*asked to stop.*start 2: .*resuming from \S*{saved}.*molora_job: done")
        self.assert_same_run("run", self.whole("small"))

    def test_a_cancelled_job_leaves_no_process_and_a_whole_checkpoint(self):
        job = self.submit("many_nodes.sbatch", self.config, "--set", "train.max_steps=2000", options=ON_TWO_NODES)
        self.wait_for_step("run", 6)
        self.assertTrue(marked_processes(self.mark))
        self.on("login", "scancel", job)
        self.wait_for_end(job, "CANCELLED")
        self.assert_no_process_left()
        self.assertEqual(self.job(job)["Restarts"], "0", self.log(job))
        self.assert_whole_checkpoint("run")

    def test_a_node_that_goes_down_leaves_no_process_and_the_job_comes_back(self):
        job = self.submit("many_nodes.sbatch", self.config, options=ON_TWO_NODES)
        self.wait_for_step("run", 6)
        self.addCleanup(self.bring_back, "n2")
        self.on("login", "scontrol", "update", "nodename=n2", "state=down", "reason=test")
        self.wait_for_state(job, "PENDING")
        self.assert_no_process_left()
        self.assert_whole_checkpoint("run")

        self.bring_back("n2")
        self.start_again_now(job)
        self.wait_for_end(job)
        self.assert_same_run("run", self.whole("small"))

    def test_the_tasks_of_an_array_are_experiments_of_their_own(self):
        experiments = self.folder / "experiments.txt"
        experiments.write_text(f"# two learning rates\n\n{self.config} --set train.learning_rate=0.001\n"
                               f"{self.config} --set 'train.learning_rate=0.002'\n")
        job = self.submit("array.sbatch", experiments, options=("--array=1-2", "--ntasks-per-node=1"),
                          MOLORA_RUNS=str(self.folder))
        for task in (1, 2):
            self.wait_for_end(f"{job}_{task}")
            self.assertEqual(len(self.steps(f"experiments-{task}")), STEPS)
        self.assertNotEqual(self.steps("experiments-1"), self.steps("experiments-2"))
        self.assertFalse((self.folder / "run").exists())

    def test_only_code_75_goes_back_to_the_queue(self):
        program = self.folder / "program"
        program.write_text("#!/bin/sh\nexit $2\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        codes = (64, 70, 71, 74, 76, 137)
        jobs = [self.submit("single_node.sbatch", code, MOLORA_PROGRAM=str(program)) for code in codes]
        for code, job in zip(codes, jobs):
            self.wait_for_end(job, "FAILED")
            self.assertEqual((self.job(job)["ExitCode"], self.job(job)["Restarts"]), (f"{code}:0", "0"), self.log(job))
            self.assertIn(f"ended with code {code}", self.log(job))

    def test_a_job_without_configuration_or_program_says_what_is_missing(self):
        job = self.submit("single_node.sbatch")
        self.wait_for_end(job, "FAILED")
        self.assertIn("no configuration: sbatch SCRIPT CONFIG.yaml", self.log(job))
        job = self.submit("array.sbatch", "nowhere.txt", options=("--array=3",))
        self.wait_for_end(f"{job}_3", "FAILED")
        self.assertIn("there is no file 'nowhere.txt' or no --array", self.log(job))


class SlurmLongE2E(SlurmJob):
    DEMO = (ROOT / "configs" / "medqwen3-multitask.yaml", "--set", "train.max_steps=20", "--set", "eval.every=0",
            "--set", "eval.max_samples_per_task=5")

    def test_the_demo_on_two_nodes_has_the_numbers_of_mpirun(self):
        whole = self.whole("demo", *self.DEMO)
        for launcher in ("srun", "mpirun"):
            job = self.submit("many_nodes.sbatch", *self.DEMO, "--set", f"output_dir={self.folder / launcher}",
                              options=ON_TWO_NODES, MOLORA_LAUNCHER=launcher)
            self.wait_for_end(job, timeout=600)
            self.assert_same_run(launcher, whole, 20)

    def test_a_job_at_its_time_limit_is_requeued_by_slurm_itself(self):
        steps = 600  # more than a minute of them
        whole = self.whole("long", self.config, "--set", f"train.max_steps={steps}")
        job = self.submit("many_nodes.sbatch", self.config, "--set", f"train.max_steps={steps}",
                          options=(*ON_TWO_NODES, "--time=1", "--signal=B:USR1@25"))
        self.wait_for_state(job, "PENDING", timeout=180)
        self.assertEqual(self.job(job)["Restarts"], "1", self.log(job))
        # From here on with all the time that it needs; nothing is asked of Slurm but to start it when it wants to.
        self.on("login", "scontrol", "update", f"jobid={job}", "TimeLimit=30")
        self.wait_for_end(job, timeout=900)
        self.assert_same_run("run", whole, steps)

    def test_a_preempted_job_saves_and_comes_back(self):
        job = self.submit("preemptible.sbatch", self.config, options=ON_TWO_NODES)
        self.wait_for_step("run", 4)
        other = self.on("login", "sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive",
                        f"--output={self.folder}/job-%j.log", "--wrap=echo in; sleep 2").strip()
        self.wait_for_end(other)
        self.assertIn("saved and stopped: back to the queue", self.log(job))
        self.start_again_now(job)
        self.wait_for_end(job)
        self.assert_same_run("run", self.whole("small"))

    def test_a_task_of_an_array_that_is_warned_comes_back_alone(self):
        experiments = self.folder / "experiments.txt"
        experiments.write_text(f"{self.config} --set output_dir={self.folder / 'one'}\n"
                               f"{self.config} --set output_dir={self.folder / 'two'}\n")
        array = self.submit("array.sbatch", experiments, options=("--array=1-2", "--ntasks-per-node=1"))
        self.wait_for_step("two", 4)
        self.warn(f"{array}_2")  # the last one: its job id is that of the array
        self.start_again_now(f"{array}_2")
        for task, name, restarts in ((1, "one", "0"), (2, "two", "1")):
            self.wait_for_end(f"{array}_{task}")
            self.assertEqual(self.job(f"{array}_{task}")["Restarts"], restarts)
            self.assert_same_run(name, self.whole("small", nodes=1))

    def test_a_node_whose_slurm_dies_leaves_no_process(self):
        job = self.submit("many_nodes.sbatch", self.config, "--set", "train.max_steps=20000", options=ON_TWO_NODES)
        self.wait_for_step("run", 6)
        # All hosts see each other's processes, so those of n2 are told by their host name's namespace.
        uts = self.on("n2", "readlink", "/proc/self/ns/uts").strip()
        victims = processes_of(uts, rf"^slurmd -N n2|^slurmstepd: \[{job}\.")
        self.assertEqual(len(victims), 2)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.addCleanup(self.on, "n2", "bash", self.cluster / "slurmd", "n2")
        # slurmctld finds out after SlurmdTimeout; the ranks' own watch or the loss of srun may come first.
        self.wait_for_state(job, "PENDING", *("FAILED", "NODE_FAIL"), timeout=300)
        self.assert_no_process_left(timeout=120)
        self.assert_whole_checkpoint("run")


if __name__ == "__main__":
    unittest.main()

"""A run that is killed and started again leaves the same bits as one that was left alone."""
import random
import signal
import time
import unittest

from molora_job import EXIT_CONFIG, EXIT_DONE, EXIT_REQUEUE, Job

STEPS = 12


class ResumeCase(Job):
    def whole(self, ranks=1):
        """A run that was left alone."""
        return self.trained_once(f"whole-{ranks}", ranks)

    def assert_same_run(self, name, reference):
        self.assertEqual(self.metrics(name), self.metrics(reference))
        self.assertEqual(self.checkpoint_bytes(name, STEPS), self.checkpoint_bytes(reference, STEPS))

    def run_until_done(self, name, ranks, kill_after_steps):
        """Starts the same command again and again, killing it after so many steps of the run."""
        kills = 0
        for after in kill_after_steps:
            process = self.start(*self.train_arguments(name, ranks))
            self.wait_for_steps(process, name, after)
            kills += process.poll() is None
            self.kill_ranks(process)
        self.train(name, ranks)
        return kills


class ResumeE2E(ResumeCase):
    def test_killed_before_the_first_save_and_after_the_last_on_one_rank(self):
        kills = self.run_until_done("killed", 1, [1, 7, 11])
        self.assertGreaterEqual(kills, 2)
        self.assert_same_run("killed", self.whole())

    def test_killed_on_two_ranks(self):
        kills = self.run_until_done("killed", 2, [2, 9])
        self.assertGreaterEqual(kills, 1)
        self.assert_same_run("killed", self.whole(2))

    def test_experts_are_computed_as_the_checkpoint_has_it(self):
        """Whatever a measurement would say now."""
        grouped = "adapter.expert_compute=grouped"
        self.train("whole", 2, grouped)
        process = self.start(*self.train_arguments("killed", 2, grouped))
        self.wait_for_steps(process, "killed", 5)
        self.kill_ranks(process)
        _, log = self.train("killed", 2, "adapter.expert_compute=auto")
        self.assertIn("experts of gate_proj, up_proj: grouped (as the checkpoint has it)", log)
        self.assertIn("experts of down_proj: grouped (as the checkpoint has it)", log)
        self.assertEqual(self.checkpoint_bytes("killed", STEPS), self.checkpoint_bytes("whole", STEPS))
        said, _ = self.run_molora("inspect", self.folder / "killed")
        self.assertIn("experts   gate_proj grouped, up_proj grouped, down_proj grouped", said)

    def test_a_damaged_newest_checkpoint_is_passed_over(self):
        process = self.start(*self.train_arguments("killed"))
        self.wait_for_steps(process, "killed", 8)
        self.kill_ranks(process)
        newest = sorted((self.folder / "killed" / "checkpoints").glob("step-*"))[-1]
        file = next(newest.glob("adapter-*.safetensors"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        _, log = self.train("killed")
        self.assertIn("is passed over", log)
        self.assertIn(file.name, log)
        self.assert_same_run("killed", self.whole())

    def test_a_path_starts_another_run_and_never_mixes_with_one_that_is_there(self):
        whole = self.whole()
        older = whole / "checkpoints" / "step-00000009"
        _, log = self.run_molora(*self.train_arguments(whole), "--resume", older, expect=EXIT_CONFIG)
        self.assertIn("holds checkpoints up to step 12", log)
        self.run_molora(*self.train_arguments("other"), "--resume", older)
        self.assertEqual(self.checkpoint_bytes("other", STEPS), self.checkpoint_bytes(whole, STEPS))
        self.assertEqual([line["step"] for line in self.steps("other")], [10, 11, 12])

    def check_stop(self, ranks, stop_signal):
        process = self.start(*self.train_arguments("stopped", ranks))
        self.wait_for_steps(process, "stopped", 4)
        process.send_signal(stop_signal)
        output, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, EXIT_REQUEUE, output)
        self.assertIn("stopped on request after step", output)
        self.assertLess(len(self.steps("stopped")), STEPS)
        self.train("stopped", ranks, expect=EXIT_DONE)
        self.assert_same_run("stopped", self.whole(ranks))

    def test_one_interrupt_saves_and_leaves(self):
        self.check_stop(1, signal.SIGINT)

    def test_one_interrupt_of_a_job_of_two_ranks_saves_and_leaves(self):
        self.check_stop(2, signal.SIGINT)

    def test_usr1_saves_and_leaves(self):
        self.check_stop(1, signal.SIGUSR1)

    def test_two_interrupts_leave_at_once(self):
        process = self.start(*self.train_arguments("stopped", 1, "train.max_steps=100000"))
        self.wait_for_steps(process, "stopped", 2)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        self.assertIn(process.returncode, (128 + signal.SIGINT, EXIT_REQUEUE), output)


class ResumeLongE2E(ResumeCase):
    def test_killed_at_random_moments_saves_included(self):
        """With a checkpoint after every step, random moments often fall into a save."""
        self.config.write_text(self.config.read_text().replace("every: 3", "every: 1"))
        self.train("whole")
        random.seed(7)
        for _ in range(8):
            process = self.start(*self.train_arguments("killed"))
            time.sleep(random.uniform(0.3, 2.0))
            self.kill_ranks(process)
        self.train("killed")
        self.assert_same_run("killed", "whole")
        left_over = list((self.folder / "killed" / "checkpoints").glob("*.tmp-*"))
        self.assertEqual(left_over, [])


if __name__ == "__main__":
    unittest.main()

"""kill -9 of any one rank, and of all, many times over one run: the result is that of a run left alone."""
import random
import unittest

from molora_job import TinyJob


class KillCase(TinyJob):
    def check(self, steps, every, num_kills, seed):
        overrides = (f"train.max_steps={steps}", f"checkpoint.every={every}")
        dice = random.Random(seed)
        # The last steps are left out: a run that has ended cannot be killed.
        moments = sorted(dice.sample(range(1, steps - 4), num_kills))
        self.train_to_the_end("whole", *overrides)
        self.kill_at_steps("killed", moments, dice, *overrides)
        self.train_to_the_end("killed", *overrides)
        self.assert_same_run("killed", "whole", steps)


class KillE2E(KillCase):
    def test_killed_8_times_in_60_steps(self):
        self.check(steps=60, every=5, num_kills=8, seed=11)


class KillLongE2E(KillCase):
    def test_killed_50_times_in_300_steps(self):
        self.check(steps=300, every=10, num_kills=50, seed=12)


if __name__ == "__main__":
    unittest.main()

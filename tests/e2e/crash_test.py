"""Killed at a call of a save: the next start finds the old checkpoint or the new one, and ends with the same bits."""
import random
import re
import unittest

from molora_job import MEMORY, TINY_SAVES, TinyJob

OLD, NEW, LAST = TINY_SAVES
SAVE, NEXT_SAVE = f"step-{NEW:08}", f"step-{LAST:08}"


def is_commit(call):
    operation, path = call
    return operation == "rename" and re.search(rf"/{SAVE}\.tmp-[^/]*$", path) is not None


class CrashCase(TinyJob):
    PARENT_FOLDER = MEMORY

    def num_calls_of_save(self, rank):
        """How many calls the rank makes from the first for the save to the last before the next save."""
        log = self.folder / f"calls-of-{rank}.txt"
        self.train_to_the_end(f"counted-{rank}", fault={"rank": rank, "begin": SAVE, "log": log})
        calls = self.read_calls(log)
        ends = [index for index, (_, path) in enumerate(calls) if NEXT_SAVE in path]
        self.assertTrue(ends and ends[0] > 3, calls)
        return ends[0]

    def check(self, rank, number, after=0):
        """Kills the rank at its call of this number (from 1), starts the same command again, compares."""
        name = f"rank-{rank}-call-{number}-{after}"
        log = self.folder / f"{name}.txt"
        self.train_until_killed(name, {"kind": "kill", "rank": rank, "begin": SAVE, "nth": number, "after": after,
                                       "log": log})
        calls = self.read_calls(log)
        self.assertEqual(len(calls), number)
        with self.subTest(f"{name}: {' '.join(calls[-1])}"):
            done = calls if after else calls[:-1]
            resumed = self.resumed_step(self.train_to_the_end(name))
            if rank == 0:
                self.assertEqual(resumed, NEW if any(map(is_commit, done)) else OLD)
            self.assertIn(resumed, (OLD, NEW))
            self.assert_same_run(name, "whole")
            self.forget(name)


class CrashE2E(CrashCase):
    def test_at_some_calls_of_each_rank(self):
        """The first, the last and one between; each phase of the coordinator is in storage_test."""
        self.train_to_the_end("whole")
        dice = random.Random(5)
        for rank in range(self.RANKS):
            last = self.num_calls_of_save(rank)
            for number in (1, dice.randrange(2, last), last):
                self.check(rank, number, after=number % 2)


class CrashEverywhereE2E(CrashCase):
    def test_at_every_call_of_each_rank(self):
        self.train_to_the_end("whole")
        for rank in range(self.RANKS):
            for number in range(1, self.num_calls_of_save(rank) + 1):
                self.check(rank, number)


if __name__ == "__main__":
    unittest.main()

"""Storage that fails, is slow or goes away with the coordinator: training goes on, or ends as documented."""
import unittest

from molora_job import EXIT_STORAGE, MEMORY, TINY_SAVES, TINY_STEPS, TinyJob

FIRST, SECOND, LAST = TINY_SAVES
KEEP_ALL = "checkpoint.keep_last=5"


class StorageE2E(TinyJob):
    PARENT_FOLDER = MEMORY

    def whole(self):
        """A run that nothing disturbs."""
        return self.trained_once("whole", self.RANKS, KEEP_ALL)

    def steps_saved(self, name):
        return [int(folder.name[5:]) for folder in sorted(self.checkpoints(name).glob("step-????????"))]

    def fail_second_save(self, name, fault):
        """A fault in the save of step 20: it is reported once, nothing else changes."""
        log = self.train_to_the_end(name, KEEP_ALL, fault={"begin": f"step-{SECOND:08}", **fault})
        errors = [line for line in log.splitlines() if " error " in line]
        self.assertEqual(len(errors), 1, log)
        self.assertIn(f"the checkpoint of step {SECOND} ", errors[0])
        self.assertIn("training goes on", errors[0])
        self.assertEqual(self.steps_saved(name), [FIRST, LAST])
        self.assertEqual(self.whole_tensors(name, FIRST), self.whole_tensors(self.whole(), FIRST))
        self.assert_same_run(name, self.whole())
        return errors[0]

    def test_the_full_disk_of_one_rank_costs_one_save(self):
        for kind, operation, reason in (("enospc", "write", "No space left on device"),
                                        ("eio", "fsync", "Input/output error")):
            with self.subTest(kind):
                error = self.fail_second_save(kind, {"kind": kind, "rank": 1, "op": operation, "nth": 1,
                                                     "path": "adapter-00001"})
                self.assertIn("rank 1: ", error)
                self.assertRegex(error, rf"/step-{SECOND:08}\.tmp-[^/ ]*/adapter-00001\.safetensors: cannot")
                self.assertIn(reason, error)

    def test_a_commit_that_fails_costs_one_save(self):
        error = self.fail_second_save("manifest", {"kind": "enospc", "rank": 0, "op": "write", "nth": 1,
                                                   "path": "manifest.pb"})
        self.assertIn("manifest.pb", error)
        self.assertIn("No space left on device", error)
        error = self.fail_second_save("commit", {"kind": "eio", "rank": 0, "op": "rename", "nth": 2,
                                                 "path": f"step-{SECOND:08}.tmp-"})
        self.assertIn(f"cannot rename to step-{SECOND:08}", error)

    def test_a_full_disk_at_the_end_is_the_failure_of_the_run(self):
        fault = {"kind": "enospc", "rank": 1, "op": "write", "path": "adapter-00001", "begin": f"step-{LAST:08}"}
        log = self.train_to_the_end("full", KEEP_ALL, fault=fault, expect=EXIT_STORAGE)
        for words in (f"the checkpoint of step {LAST} ", "rank 1: ", "adapter-00001.safetensors: cannot write",
                      "No space left on device", "untouched"):
            self.assertIn(words, log)
        self.assertEqual(self.steps_saved("full"), [FIRST, SECOND])
        self.assert_nothing_left_over("full")
        self.assertEqual(self.resumed_step(self.train_to_the_end("full", KEEP_ALL)), SECOND)
        self.assert_same_run("full", self.whole())

    def test_a_writer_slower_than_the_interval_passes_saves_over(self):
        every = ("checkpoint.every=2", f"checkpoint.keep_last={TINY_STEPS}")
        self.train_to_the_end("whole", *every)
        log = self.train_to_the_end("slow", *every, fault={"kind": "slow", "rank": 1, "op": "fsync", "ms": 1000,
                                                           "path": "adapter-00001"})
        self.assertRegex(log, r"warning .*no checkpoint of step \d+: that of step 2 is still being written")
        self.assertNotIn(" error ", log)
        self.assertIn(2, self.steps_saved("slow"))
        self.assertLess(len(self.steps_saved("slow")), len(self.steps_saved("whole")))
        self.assert_same_run("slow", "whole")

    def test_writes_that_take_half_of_the_bytes_change_nothing(self):
        self.train_to_the_end("short", fault={"kind": "short", "op": "write"})
        self.assert_same_run("short", self.whole())


SAVE = f"step-{SECOND:08}"
ATTEMPT = SAVE + ".tmp-"
# What rank 0 is about to do when it is killed: the shim's words, and which step the next start finds.
PHASES = {
    # By whichever rank comes first: the other one finds it there.
    "make the folder": ({"op": "mkdir", "path": ATTEMPT, "rank": None}, FIRST),
    "create its file": ({"op": "open", "path": "adapter-00000"}, FIRST),
    "write its file": ({"op": "write", "path": "adapter-00000"}, FIRST),
    "sync its file": ({"op": "fsync", "path": "adapter-00000"}, FIRST),
    "write the manifest": ({"op": "write", "path": "manifest.pb"}, FIRST),
    "name the manifest": ({"op": "rename", "path": "manifest.pb"}, FIRST),
    "commit": ({"op": "rename", "path": SAVE, "nth": 2}, FIRST),
    "have committed": ({"op": "rename", "path": SAVE, "nth": 2, "after": 1}, SECOND),
    "name the latest": ({"op": "rename", "path": "/latest"}, SECOND),
    "remove the old one": ({"op": "rename", "path": f"step-{FIRST:08}"}, SECOND),
    "remove the rest of the old one": ({"op": "unlink", "path": f"step-{FIRST:08}", "nth": 3}, SECOND),
}


# One for each thing that is written, on both sides of the commit.
SOME_PHASES = ("write its file", "write the manifest", "commit", "have committed", "remove the rest of the old one")


class CoordinatorCase(TinyJob):
    PARENT_FOLDER = MEMORY

    def check(self, phases):
        self.train_to_the_end("whole")
        for number, phase in enumerate(phases):
            with self.subTest(f"about to {phase}"):
                fault, found = PHASES[phase]
                name = f"phase-{number}"
                fault = {"kind": "kill", "rank": 0, "begin": SAVE, "nth": 1, **fault}
                self.train_until_killed(name, {key: value for key, value in fault.items() if value is not None})
                self.assertEqual(self.resumed_step(self.train_to_the_end(name)), found)
                self.assert_same_run(name, "whole")
                self.forget(name)


class CoordinatorE2E(CoordinatorCase):
    def test_killed_in_some_phases_of_a_save(self):
        self.check(SOME_PHASES)


class CoordinatorLongE2E(CoordinatorCase):
    def test_killed_in_each_phase_of_a_save(self):
        self.check(PHASES)


if __name__ == "__main__":
    unittest.main()

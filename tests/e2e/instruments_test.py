"""The instruments of the other tests: the fault shim on a small process, and tensors put together from slices."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from checkpoint_tensors import whole_tensors
from molora_job import environment_with

# Saves in folder sys.argv[1] as a checkpoint writer does: 8 calls that the shim looks at.
VICTIM = """
import os, sys
os.chdir(sys.argv[1])
root = sys.argv[1] + "/checkpoints"
os.mkdir(root)
os.mkdir(root + "/step-1.tmp")
file = os.open(root + "/step-1.tmp/a", os.O_WRONLY | os.O_CREAT)
text = b"0123456789"
while text:
    text = text[os.write(file, text):]
os.fsync(file)
os.close(file)
os.rename(root + "/step-1.tmp", root + "/step-1")
folder = os.open(root, os.O_RDONLY)
os.fsync(folder)
beside = os.open(sys.argv[1] + "/beside", os.O_WRONLY | os.O_CREAT)
os.write(beside, b"x")
os.fsync(beside)
os.unlink(root + "/step-1/a")
"""
CALLS = [("mkdir", ""), ("mkdir", "/step-1.tmp"), ("open", "/step-1.tmp/a"), ("write", "/step-1.tmp/a"),
         ("fsync", "/step-1.tmp/a"), ("rename", "/step-1.tmp"), ("fsync", ""), ("unlink", "/step-1/a")]


class FaultShimE2E(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="molora-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.log = self.folder / "log"
        self.num_runs = 0

    def run_victim(self, as_rank=None, **fault):
        """Returns how the process ended, its errors, and what it left."""
        self.num_runs += 1
        root = self.folder / str(self.num_runs)
        root.mkdir()
        environment = environment_with(fault) if fault else dict(os.environ)
        if as_rank is not None:
            environment["OMPI_COMM_WORLD_RANK"] = str(as_rank)
        done = subprocess.run([sys.executable, "-c", VICTIM, root], env=environment, capture_output=True, text=True)
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        return done.returncode, done.stderr, names

    def logged(self):
        root = str(self.folder / str(self.num_runs) / "checkpoints")
        lines = self.log.read_text().splitlines()
        return [(line.split(" ")[1], line.split(" ")[2].removeprefix(root)) for line in lines]

    def test_every_call_on_checkpoints_is_logged_and_no_other(self):
        code, errors, names = self.run_victim(log=self.log)
        self.assertEqual((code, errors, names), (0, "", ["beside", "checkpoints", "checkpoints/step-1"]))
        self.assertEqual(self.logged(), CALLS)
        self.assertTrue(self.log.read_text().startswith("1 mkdir "))

    def test_calls_fail_with_the_reason(self):
        for kind, reason in (("enospc", "No space left on device"), ("eio", "Input/output error")):
            for operation in ("open", "write", "fsync", "rename", "mkdir", "unlink"):
                code, errors, _ = self.run_victim(kind=kind, op=operation)
                self.assertEqual(code, 1, operation)
                self.assertIn(reason, errors)

    def test_the_nth_call_alone(self):
        code, errors, names = self.run_victim(kind="eio", op="mkdir", nth=2)
        self.assertEqual((code, names), (1, ["checkpoints"]))
        self.assertEqual(self.run_victim(kind="eio", op="mkdir", nth=3)[0], 0)

    def test_only_on_the_path_and_only_from_the_beginning_on(self):
        self.run_victim(log=self.log, path="step-1/")
        self.assertEqual(self.logged(), [("unlink", "/step-1/a")])
        self.log.unlink()
        self.run_victim(log=self.log, begin="step-1.tmp/a", op="fsync")
        self.assertEqual(self.logged(), [("fsync", "/step-1.tmp/a"), ("fsync", "")])

    def test_only_in_the_rank(self):
        for as_rank, code in ((None, 0), (0, 0), (1, 1)):
            self.assertEqual(self.run_victim(as_rank, kind="eio", op="mkdir", rank=1)[0], code, as_rank)
        self.assertEqual(self.run_victim(kind="eio", op="mkdir", rank=0)[0], 1, "alone it is rank 0")

    def test_killed_before_and_after_a_call(self):
        attempt = ["checkpoints", "checkpoints/step-1.tmp", "checkpoints/step-1.tmp/a"]
        committed = ["checkpoints", "checkpoints/step-1", "checkpoints/step-1/a"]
        self.assertEqual(self.run_victim(kind="kill", op="rename"), (-9, "", attempt))
        self.assertEqual(self.run_victim(kind="kill", op="rename", after=1), (-9, "", committed))

    def test_killed_at_every_call(self):
        for number in range(1, len(CALLS) + 1):
            self.log.unlink(missing_ok=True)
            self.assertEqual(self.run_victim(kind="kill", nth=number, log=self.log)[0], -9)
            self.assertEqual(self.logged(), CALLS[:number])

    def test_short_writes(self):
        self.assertEqual(self.run_victim(kind="short", op="write", log=self.log)[0], 0)
        self.assertEqual([operation for operation, _ in self.logged()], ["write"] * 4)  # 5 + 3 + 1 + 1

    def test_slow_calls(self):
        begin = time.monotonic()
        self.assertEqual(self.run_victim(kind="slow", op="fsync", ms=150)[0], 0)
        self.assertGreaterEqual(time.monotonic() - begin, 0.3)

    def test_a_wrong_plan_is_no_silent_success(self):
        for plan in ({"kind": "burn"}, {"when": "now"}, {"nth": "two"}, {"kind": "eio", "path": "x" * 300}):
            code, errors, _ = self.run_victim(**plan)
            self.assertEqual(code, 120, plan)
            self.assertIn("fault_shim: ", errors)


def write_safetensors(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


class WholeTensorsE2E(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="molora-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def put(self, file, shape, data, place, name="a"):
        write_safetensors(self.folder / f"{file}.safetensors", {name: ("F32", shape, data)},
                          {f"slice:{name}": place} if place else {})

    def test_files_without_slices_hold_whole_tensors(self):
        self.put("adapter-00000", [2], floats(1, 2), None)
        self.put("optimizer-00000", [], floats(3), None, name="b")
        self.assertEqual(whole_tensors(self.folder),
                         {"a": ("F32", [2], floats(1, 2)), "b": ("F32", [], floats(3))})

    def test_slices_along_each_dimension_become_the_same_tensor(self):
        whole = {"a": ("F32", [2, 2, 2], floats(0, 1, 2, 3, 4, 5, 6, 7))}
        parts = {0: ([1, 2, 2], ((0, 1, 2, 3), (4, 5, 6, 7)), "{},0,0"),
                 1: ([2, 1, 2], ((0, 1, 4, 5), (2, 3, 6, 7)), "0,{},0"),
                 2: ([2, 2, 1], ((0, 2, 4, 6), (1, 3, 5, 7)), "0,0,{}")}
        for dim, (shape, halves, offset) in parts.items():
            for rank, values in enumerate(halves):
                self.put(f"adapter-0000{rank}", shape, floats(*values), "2,2,2@" + offset.format(rank))
            self.assertEqual(whole_tensors(self.folder), whole, dim)

    def test_scalars_and_empty_tensors(self):
        self.put("adapter-00000", [], floats(7), "@")
        self.assertEqual(whole_tensors(self.folder), {"a": ("F32", [], floats(7))})
        self.put("adapter-00000", [0, 3], b"", "0,3@0,0")
        self.assertEqual(whole_tensors(self.folder), {"a": ("F32", [0, 3], b"")})

    def test_gaps_overlaps_and_contradictions_are_found(self):
        self.put("adapter-00000", [2], floats(1, 2), "4@0")
        with self.assertRaisesRegex(AssertionError, "gap"):
            whole_tensors(self.folder)
        self.put("adapter-00001", [3], floats(1, 2, 3), "4@1")
        with self.assertRaisesRegex(AssertionError, "overlap"):
            whole_tensors(self.folder)
        self.put("adapter-00001", [2], floats(1, 2), "5@2")
        with self.assertRaisesRegex(AssertionError, "adapter-00001"):
            whole_tensors(self.folder)


if __name__ == "__main__":
    unittest.main()

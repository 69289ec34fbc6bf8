"""Tensor and expert parallelism over real MPI: every layout trains, saves, resumes and answers alike."""
import json
import pathlib
import struct
import unittest

from molora_job import EXIT_CONFIG, MODEL, Job

FP64 = 1e-10


def parallel(tp=1, ep=1, exchange="auto", sp=False):
    return (f"parallel.tensor_parallel={tp}", f"parallel.expert_parallel={ep}",
            f"parallel.exchange={exchange}", f"parallel.sequence_parallel={str(sp).lower()}")


STEPS = 5
# name -> (ranks, layout): all modes, axes within and across each other, with and without sequence parallelism
LAYOUTS = {
    "tp2_ep2_tokens": (4, parallel(tp=2, ep=2, exchange="tokens")),
    "tp2_rank": (2, parallel(tp=2, exchange="rank")),
    "tp2_ep4_tokens_sp": (4, parallel(tp=2, ep=4, exchange="tokens", sp=True)),
    "ep2_gather": (2, parallel(ep=2, exchange="gather")),
    "tp4_replicate_sp": (4, parallel(tp=4, exchange="replicate", sp=True)),
}


def numbers(tensor):
    dtype, _, data = tensor
    code = {"F32": "f", "F64": "d"}[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)


class LayoutsE2E(Job):
    def curve(self, name, ranks, *overrides, arguments=()):
        self.run_molora(*self.train_arguments(name, ranks, "model.precision=fp64", f"train.max_steps={STEPS}",
                                              "checkpoint.every=0", *overrides), *arguments)
        return self.steps(name)

    def assert_same_curve(self, got, expected, name):
        self.assertEqual(len(got), len(expected), name)
        for a, b in zip(got, expected):
            for key in ("samples", "tokens", "supervised", "expert_load"):
                self.assertEqual(a.get(key), b.get(key), f"{name}, step {b['step']}: {key}")
            for key in ("loss", "grad_norm"):
                self.assertLessEqual(abs(a[key] - b[key]), FP64 * max(1.0, abs(b[key])),
                                     f"{name}, step {b['step']}: {key} {a[key]} against {b[key]}")

    def adapter(self, name, step=STEPS):
        tensors = self.whole_tensors(name, step)
        return {tensor: value for tensor, value in tensors.items() if tensor.startswith("adapter/")}

    def assert_same_adapter(self, got, expected, name):
        self.assertEqual(list(got), list(expected), name)
        for tensor in expected:
            self.assertEqual(got[tensor][:2], expected[tensor][:2], f"{name}: {tensor}")
            for a, b in zip(numbers(got[tensor]), numbers(expected[tensor])):
                self.assertLessEqual(abs(a - b), FP64, f"{name}: {tensor}")

    def test_losses_samples_and_saved_adapters_equal_one_rank(self):
        one = self.curve("one", 1)
        saved = self.adapter("one")
        for name, (ranks, layout) in LAYOUTS.items():
            got = self.curve(name, ranks, *layout)
            self.assert_same_curve(got, one, name)
            self.assert_same_adapter(self.adapter(name), saved, name)
            if ranks > 1:
                self.assertGreater(sum(sum(axis.values()) for axis in got[-1]["sent_bytes"].values()), 0)

    def test_a_run_goes_on_in_another_layout(self):
        ranks, layout = LAYOUTS["tp2_ep4_tokens_sp"]
        self.curve("moved", ranks, *layout, "train.max_steps=3", "train.schedule=constant")
        longer = ["--allow-change"]  # more steps
        self.curve("moved", 1, "train.schedule=constant", arguments=longer)
        self.curve("moved", 2, *LAYOUTS["tp2_rank"][1], "train.max_steps=7", "train.schedule=constant",
                   arguments=longer)
        self.curve("stayed", 1, "train.max_steps=7", "train.schedule=constant")
        self.assert_same_curve(self.steps("moved"), self.steps("stayed"), "moved")

    def test_a_run_is_used_on_other_ranks_than_it_was_trained_on(self):
        ranks, layout = LAYOUTS["tp2_ep4_tokens_sp"]
        self.train("run", ranks, f"train.max_steps={STEPS}", *layout)
        prompt = ["generate", self.folder / "run", "--prompt", "What is anaemia?",
                  "--max-new-tokens", 12, "--temperature", 0]
        answers = [self.run_molora(*prompt, "--ranks", n)[0] for n in (1, 4)]
        self.assertEqual(*answers)
        tables = []
        for n in (1, 4):
            self.run_molora("eval", self.folder / "run", "--data", "tests/assets/data/multitask/dev.jsonl",
                            "--max-samples-per-task", 5, "--json", self.folder / f"eval{n}.json", "--ranks", n)
            tables.append(json.loads((self.folder / f"eval{n}.json").read_text()))
        self.assert_same_table(tables[1], tables[0])

    def assert_same_table(self, got, expected):
        self.assertEqual(type(got), type(expected))
        if isinstance(expected, dict):
            self.assertEqual(got.keys(), expected.keys())
            for key in expected:
                self.assert_same_table(got[key], expected[key])
        elif isinstance(expected, list):
            self.assertEqual(len(got), len(expected))
            for a, b in zip(got, expected):
                self.assert_same_table(a, b)
        elif isinstance(expected, float):
            self.assertLessEqual(abs(got - expected), 1e-4 * max(1.0, abs(expected)))
        else:
            self.assertEqual(got, expected)

    def test_a_layout_that_cannot_work_is_refused_before_the_model_is_read(self):
        _, error = self.train("run", 4, *parallel(tp=3), expect=EXIT_CONFIG)
        self.assertIn("tensor_parallel", error)
        self.assertIn("write --ranks 3 or --ranks 6", error)
        self.assertNotIn("fingerprint", error)
        _, error = self.train("run", 4, *parallel(ep=4, exchange="tokens"), "adapter.num_experts=6",
                              expect=EXIT_CONFIG)
        self.assertIn("num_experts", error)
        self.assertFalse((self.folder / "run" / "metrics.jsonl").exists())

    def test_the_model_of_the_tests_has_what_the_layouts_need(self):
        config = json.loads((pathlib.Path(__file__).resolve().parents[2] / MODEL / "config.json").read_text())
        self.assertEqual(config["num_attention_heads"] % 4, 0)
        self.assertLess(config["num_key_value_heads"], 4, "tp 4 shares key-value heads")


if __name__ == "__main__":
    unittest.main()

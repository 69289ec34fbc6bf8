"""Measuring before training: `molora bench`, and traces of training steps."""
import json
import re
import unittest

from molora_job import EXIT_CONFIG, MODEL, ROOT, Job

FEW = ["--steps", 2, "--warmup", 1, "--set", "data.max_length=32", "--set", "train.global_batch_size=4"]


class BenchE2E(Job):
    def bench(self, *arguments, **options):
        """Returns (text, numbers) of a short bench."""
        path = self.folder / "bench.json"
        out, _ = self.run_molora("bench", self.config, "--json", path, *FEW, *arguments, **options)
        return out, json.loads(path.read_text())

    def check_case(self, case, ranks):
        breakdown = case["breakdown"]
        self.assertAlmostEqual(sum(breakdown["seconds"].values()), breakdown["step_seconds"], places=9)
        for work in ("base_forward", "base_gradient", "adapter_forward", "adapter_gradient", "attention", "head",
                     "optimizer", "elementwise"):
            self.assertGreater(breakdown["seconds"][work], 0, work)
        self.assertEqual(len(case["ranks"]), ranks)
        self.assertEqual(len(case["step_seconds"]["steps"]), 2)
        self.assertEqual(case["step_tokens"], 4 * 32)
        self.assertEqual(case["step_supervised"], 4 * 31)
        self.assertGreater(case["useful_share"], 0)

    def test_prints_and_writes_where_a_step_goes_and_nothing_else(self):
        before = sorted(self.folder.iterdir())
        out, numbers = self.bench()
        self.assertEqual(sorted(set(self.folder.iterdir()) - set(before)), [self.folder / "bench.json"])
        self.check_case(numbers["first"], 1)
        for text in (MODEL, "tokens a second", "useful share", "base, input gradients", "between operators", "memory"):
            self.assertIn(text, out)
        for line in out.splitlines():
            self.assertLessEqual(len(line), 100, line)
        self.assertEqual(numbers["first"]["traffic_bytes"], {})

    def test_several_ranks_count_their_collectives(self):
        out, numbers = self.bench("--ranks", 2, "--set", "parallel.tensor_parallel=2")
        case = numbers["first"]
        self.check_case(case, 2)
        self.assertGreater(case["breakdown"]["seconds"]["collective"], 0)
        self.assertGreater(case["breakdown"]["collective_seconds"]["tp"], 0)
        self.assertGreater(case["traffic_bytes"]["tp"]["all_gather"], 0)
        for text in ("slowest rank", "tp, waiting with it", "sent in a step"):
            self.assertIn(text, out)

    def test_two_configurations_are_measured_in_turns(self):
        out, numbers = self.bench("--against-set", "adapter.num_experts=2")
        self.check_case(numbers["second"], 1)
        ratio = numbers["ratio"]
        self.assertLessEqual(ratio["low"], ratio["second_over_first"])
        self.assertGreaterEqual(ratio["high"], ratio["second_over_first"])
        self.assertIn("B takes", out)

    def test_a_model_without_weights_gets_random_ones(self):
        model = self.folder / "shape"
        model.mkdir()
        (model / "config.json").write_text((ROOT / MODEL / "config.json").read_text())
        out, numbers = self.bench("--set", f"model.path={model}")
        self.assertTrue(numbers["first"]["random_weights"])
        self.assertIn("random weights", out)

    def test_supervised_share_and_sequences(self):
        _, numbers = self.bench("--supervised", 0.25, "--sequences-per-row", 4)
        case = numbers["first"]
        self.assertEqual(case["sequence_tokens"], 8)
        self.assertLess(case["step_supervised"], 4 * 31 * 0.5)

    def test_says_what_is_wrong_with_its_arguments(self):
        _, log = self.run_molora("bench", expect=EXIT_CONFIG)
        self.assertIn("which configuration?", log)
        _, log = self.run_molora("bench", self.config, *FEW, "--sequences-per-row", 17, expect=EXIT_CONFIG)
        self.assertIn("a sequence has at least two tokens", log)


class CalibrationE2E(Job):
    def test_calibration_writes_what_the_planner_reads(self):
        path = self.folder / "machine.yaml"
        self.run_molora("bench", "--calibrate", path, "--ranks", 2)
        text = path.read_text()
        for number in (r"^flops:\n(?:  .*\n)*  fp32: (\S+)$", r"^memory_bandwidth: (\S+)$", r"^operator_latency: (\S+)$",
                       r"^links:\n  - name: \"one machine\"\n    ranks_per_domain: 2\n    bandwidth: (\S+)$"):
            found = re.search(number, text, re.MULTILINE)
            self.assertTrue(found, f"{number}\n{text}")
            self.assertGreater(float(found.group(1)), 0)


class TraceE2E(Job):
    def check_trace(self, path, ranks):
        """All ranks are there, spans nest, and a thread's outermost spans fit into its step."""
        events = json.loads(path.read_text())["traceEvents"]
        spans = [event for event in events if event["ph"] == "X"]
        self.assertEqual({event["pid"] for event in events}, set(range(ranks)))
        for rank in range(ranks):
            of_rank = [event for event in spans if event["pid"] == rank]
            step = next(event for event in of_rank if event["cat"] == "step")
            for thread in {event["tid"] for event in of_rank}:
                self.check_thread(step, [e for e in of_rank if e["tid"] == thread and e is not step])
        return spans

    def check_thread(self, step, spans):
        slack = 0.002  # of times that are written with three digits
        begin, end = step["ts"], step["ts"] + step["dur"]
        outermost, open_ends = 0.0, []
        for span in spans:
            self.assertGreaterEqual(span["ts"], begin - slack, span)
            while open_ends and open_ends[-1] <= span["ts"] + slack:
                open_ends.pop()
            last = span["ts"] + span["dur"]
            if open_ends:
                self.assertLessEqual(last, open_ends[-1] + slack, span)
            else:
                outermost += span["dur"]
            open_ends.append(last)
            self.assertLessEqual(last, end + slack, span)
        self.assertLessEqual(outermost, step["dur"] + slack * len(spans))
        self.assertGreater(outermost, 0.5 * step["dur"])

    def test_training_traces_the_steps_that_are_asked_for(self):
        self.train("run", 2, "train.max_steps=4", "train.trace_steps=[2, 4]", "parallel.tensor_parallel=2")
        traces = self.folder / "run" / "traces"
        self.assertEqual(sorted(path.name for path in traces.iterdir()), ["step-2.json", "step-4.json"])
        for path in traces.iterdir():
            spans = self.check_trace(path, 2)
            names = {span["name"] for span in spans}
            for name in ("molora::step.rows", "molora::step.forward", "molora::step.backward", "layer 0 down_proj"):
                self.assertIn(name, names)
            self.assertTrue([s for s in spans if s["cat"] == "collective" and s["args"]["bytes"] > 0])

    def test_a_traced_run_learns_the_same(self):
        self.train("plain", 1, "train.max_steps=3")
        self.train("traced", 1, "train.max_steps=3", "train.trace_steps=[1, 2]")
        self.assertEqual(self.steps("plain"), self.steps("traced"))

    def test_bench_traces_a_step(self):
        path = self.folder / "trace.json"
        self.run_molora("bench", self.config, "--trace", path, *FEW)
        self.check_trace(path, 1)


if __name__ == "__main__":
    unittest.main()

"""A run goes on from any layout's checkpoint on any other: the same samples, the same losses."""
import unittest

from molora_job import Job

# name -> ranks, tensor_parallel, expert_parallel, exchange
LAYOUTS = {
    "one": (1, 1, 1, "replicate"),
    "dp2": (2, 1, 1, "replicate"),
    "tp2": (2, 2, 1, "rank"),
    "tp2_ep2": (4, 2, 2, "tokens"),
    "tp2_dp2": (4, 2, 1, "replicate"),
    "ep4": (4, 1, 4, "gather"),
}


class Reshape(Job):
    """Saves halfway on each layout and compares what others make of the steps after it."""
    SAVED = 20

    def setUp(self):
        super().setUp()
        text = self.config.read_text().replace("max_steps: 12", f"max_steps: {2 * self.SAVED}")
        text = text.replace("every: 3, keep_last: 2", f"every: {self.SAVED}, keep_last: 1, keep_every: {self.SAVED}")
        self.config.write_text(text)

    def run_on(self, layout, name, precision, *arguments):
        ranks, tp, ep, exchange = LAYOUTS[layout]
        command = self.train_arguments(
            name, ranks, f"model.precision={precision}", f"parallel.tensor_parallel={tp}",
            f"parallel.expert_parallel={ep}", f"parallel.exchange={exchange}")
        return self.run_molora(*command, *arguments)

    def check(self, precision, tolerance, pairs):
        worst = 0.0
        for source in dict.fromkeys(source for source, _ in pairs):
            self.run_on(source, source, precision)
        for source, reader in pairs:
            step = self.folder / source / "checkpoints" / f"step-{self.SAVED:08}"
            name = f"{source}-to-{reader}"
            _, log = self.run_on(reader, name, precision, "--resume", step)
            self.assertIn(f"resuming from {step} ({self.SAVED} steps done)", log)
            undisturbed = self.steps(source)[self.SAVED:]
            resumed = self.steps(name)
            self.assertEqual([line["step"] for line in resumed], list(range(self.SAVED + 1, 2 * self.SAVED + 1)), name)
            for mine, other in zip(resumed, undisturbed):
                for count in ("tokens", "supervised", "samples", "samples_seen", "epoch"):
                    self.assertEqual(mine.get(count), other.get(count), f"{name} step {mine['step']}: {count}")
                difference = abs(mine["loss"] - other["loss"]) / max(1.0, abs(other["loss"]))
                worst = max(worst, difference)
                self.assertLessEqual(difference, tolerance, f"{name} step {mine['step']}: {mine['loss']} {other['loss']}")
        print(f"{len(pairs)} pairs in {precision}: largest difference of a loss {worst:.2e}")


class ReshapeE2E(Reshape):
    SAVED = 6

    def test_a_ring_of_layouts_in_fp64(self):
        names = ["one", "tp2_ep2", "dp2", "ep4", "tp2", "one"]
        self.check("fp64", 1e-10, list(zip(names, names[1:])))


class ReshapeAllE2E(Reshape):
    def test_every_layout_to_every_other_in_fp64(self):
        self.check("fp64", 1e-10, [(a, b) for a in LAYOUTS for b in LAYOUTS])

    def test_every_layout_to_every_other_in_fp32(self):
        self.check("fp32", 1e-5, [(a, b) for a in LAYOUTS for b in LAYOUTS])


if __name__ == "__main__":
    unittest.main()

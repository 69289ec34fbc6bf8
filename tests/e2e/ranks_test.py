"""The result of training does not depend on the number of ranks or on micro-batches, over real MPI."""
import unittest

from molora_job import Job

FP64, FP32 = 1e-10, 1e-5


class RanksE2E(Job):
    def curve(self, name, ranks, *overrides):
        self.train(name, ranks, "train.max_steps=20", "checkpoint.every=0", *overrides)
        return [(line["loss"], line["grad_norm"]) for line in self.steps(name)]

    def check(self, precision, tolerance, layouts):
        """`layouts`: name -> ranks, micro-batch size."""
        model = f"model.precision={precision}"
        one = self.curve("one", 1, model)
        self.assertEqual(len(one), 20)
        for name, (ranks, micro_batch) in layouts.items():
            other = self.curve(name, ranks, model, f"train.micro_batch_size={micro_batch}")
            for step, (a, b) in enumerate(zip(one, other, strict=True), 1):
                for got, expected in zip(b, a):
                    self.assertLessEqual(abs(got - expected), tolerance * max(1.0, abs(expected)),
                                         f"{name}, step {step}: {got} against {expected}")

    def test_fp64(self):
        self.check("fp64", FP64, {"two": (2, 2), "three": (3, 1), "accumulated": (1, 1), "at_once": (1, 8)})

    def test_fp32(self):
        self.check("fp32", FP32, {"three": (3, 1)})


if __name__ == "__main__":
    unittest.main()

"""GPUs that NCCL connects, over the test libraries that put host memory in their place: the program as it is,
with a libcudart, a libnccl and a libtorch_cuda of the tests found first. The bits are those of CPUs over MPI."""
import os
import unittest

from molora_job import EXIT_CONFIG, EXIT_PEER, SMALL_RUN, Job

FAKE_GPU = os.environ.get("MOLORA_FAKE_GPU", "")
# LibTorch's own operators, so that both compute the same; what differs is all that is around them.
ON_GPU = ("device.kind=cuda", "parallel.backend=nccl", "device.kernels=aten", "device.deterministic=true")
ON_CPU = ("device.kind=cpu", "device.kernels=aten")
STEPS = 6


def parallel(tp=1, ep=1, exchange="auto", sp=False):
    return (f"parallel.tensor_parallel={tp}", f"parallel.expert_parallel={ep}",
            f"parallel.exchange={exchange}", f"parallel.sequence_parallel={str(sp).lower()}")


class GpuJob(Job):
    def setUp(self):
        super().setUp()
        self.assertTrue(FAKE_GPU, "MOLORA_FAKE_GPU names the folder of the test libraries")
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ["LD_LIBRARY_PATH"] = FAKE_GPU + ":" + os.environ.get("LD_LIBRARY_PATH", "")
        os.environ["FAKE_CUDA_SEED"] = os.environ["FAKE_NCCL_SEED"] = "11"
        os.environ["FAKE_CUDA_MAX_DELAY_US"] = "20"
        os.environ["FAKE_NCCL_MAX_DELAY_US"] = "50"
        os.environ["MKL_CBWR"] = "AVX2,STRICT"  # MKL's products do not depend on addresses
        # LibTorch's operators take a hundred steps for a mask of dropout, which the kernels take one for.
        self.config.write_text(SMALL_RUN.replace("lora_alpha: 8", "lora_alpha: 8, lora_dropout: 0")
                               .replace("max_steps: 12, global_batch_size: 8", f"max_steps: {STEPS}, global_batch_size: 4"))

    def assert_same_bits(self, got, expected):
        for a, b in zip(self.steps(got), self.steps(expected), strict=True):
            for step in (a, b):  # `rank` exchange sends more between GPUs, whose host does not know how much
                step.pop("sent_bytes", None)
            self.assertEqual(a, b)
        self.assertEqual(self.whole_tensors(got, STEPS), self.whole_tensors(expected, STEPS))


class NcclCase(GpuJob):
    def compare(self, name, ranks, *layout):
        self.train(f"{name}-cpu", ranks, *ON_CPU, *layout)
        self.train(f"{name}-gpu", ranks, *ON_GPU, *layout)
        self.assert_same_bits(f"{name}-gpu", f"{name}-cpu")

    def check_moments_on_the_host(self, *overrides):
        layout = parallel(ep=2, exchange="gather")
        self.train("cpu", 2, *ON_CPU, *layout)
        self.train("gpu", 2, *ON_GPU, *layout, "train.offload_optimizer=true", *overrides)
        self.assert_same_bits("gpu", "cpu")


class NcclE2E(NcclCase):
    def test_four_ranks_share_base_and_experts(self):
        self.compare("both", 4, *parallel(tp=2, ep=4, exchange="tokens", sp=True))

    def test_brain_float_with_the_attention_of_gpus(self):
        self.compare("bf16", 2, *parallel(tp=2, exchange="rank"), "model.precision=bf16")

    def test_moments_on_the_host(self):
        self.check_moments_on_the_host()

    def test_a_run_moves_between_cpus_and_gpus(self):
        for steps, place in ((2, ON_CPU), (4, ON_GPU), (STEPS, ON_CPU)):
            self.run_molora(*self.train_arguments("moved", 2, *place, *parallel(ep=2, exchange="gather"),
                                                  f"train.max_steps={steps}", "train.schedule=constant",
                                                  "train.warmup_steps=1"), "--allow-change")
        self.train("stayed", 2, *ON_CPU, *parallel(ep=2, exchange="gather"), "train.schedule=constant",
                   "train.warmup_steps=1")
        self.assert_same_bits("moved", "stayed")

    def test_answers_are_those_of_cpus(self):
        self.train("run", 1, *ON_CPU)
        prompt = ["generate", self.folder / "run", "--prompt", "What is anaemia?", "--max-new-tokens", 12,
                  "--temperature", 0]
        self.assertEqual(self.run_molora(*prompt, "--set", "device.kind=cuda", "--ranks", 2)[0],
                         self.run_molora(*prompt)[0])


class NcclFaultCase(GpuJob):
    def check_errors(self, *kinds):
        for kind in kinds:
            with self.subTest(kind=kind):
                operation = 1 if kind == "init" else 40
                os.environ["FAKE_NCCL_FAIL"] = f"rank=1,op={operation},kind={kind}"
                _, error = self.train(f"fault-{kind}", 2, *ON_GPU, *parallel(ep=2, exchange="tokens"),
                                      "parallel.collective_timeout=5", expect=EXIT_PEER)
                self.assertRegex(error, "NCCL|parallel.collective_timeout")


class NcclFaultE2E(NcclFaultCase):
    def test_a_lost_rank_ends_the_run_with_code_76_and_no_process(self):
        os.environ["MOLORA_FAULT"] = "step=4,rank=1,phase=backward,kind=kill"
        _, error = self.train("lost", 2, *ON_GPU, *parallel(ep=2, exchange="tokens"), expect=EXIT_PEER)
        self.assertIn("rank 1", error)

    def test_a_killed_rank_leaves_no_trace_in_the_result(self):
        self.train("whole", 2, *ON_GPU, *parallel(ep=2, exchange="tokens"))
        os.environ["MOLORA_FAULT"] = "step=5,rank=0,phase=forward,kind=kill"
        self.train("killed", 2, *ON_GPU, *parallel(ep=2, exchange="tokens"), "supervisor.max_restarts=1")
        self.assert_same_bits("killed", "whole")

    def test_a_collective_left_out_is_named(self):
        os.environ["MOLORA_FAULT"] = "step=3,rank=1,phase=backward,kind=skip"
        _, error = self.train("skipped", 2, *ON_GPU, *parallel(ep=2, exchange="tokens"),
                              "parallel.collective_timeout=10", expect=EXIT_PEER)
        self.assertRegex(error, r"all_to_all|all_gather")

    def test_errors_of_nccl_end_with_code_76(self):
        """One that NCCL reports and one that it does not; NcclFaultLongE2E has the others."""
        self.check_errors("async", "hang")

    def test_what_cannot_work_is_refused(self):
        _, error = self.train("mpi", 2, "device.kind=cuda", "parallel.backend=mpi", expect=EXIT_CONFIG)
        self.assertIn("between which only NCCL carries tensors", error)
        _, error = self.train("cpu", 2, "device.kind=auto", "parallel.backend=nccl", expect=EXIT_CONFIG)
        self.assertIn("NCCL carries only what lies on GPUs", error)
        os.environ["FAKE_CUDA_DEVICES"] = "1"
        _, error = self.train("one", 2, *ON_GPU, expect=EXIT_CONFIG)
        self.assertIn("are on the same GPU", error)
        os.environ["FAKE_CUDA_DEVICES"] = "0"
        _, error = self.train("none", 2, *ON_GPU, expect=EXIT_CONFIG)
        self.assertIn("no GPU is seen", error)


class NcclLongE2E(NcclCase):
    def test_two_ranks_exchange_tokens(self):
        self.compare("tokens", 2, *parallel(ep=2, exchange="tokens"))

    def test_moments_on_the_host_of_every_rank(self):
        self.check_moments_on_the_host("parallel.shard_optimizer=false")


class NcclFaultLongE2E(NcclFaultCase):
    def test_every_error_of_nccl_ends_with_code_76(self):
        self.check_errors("async", "call", "remote", "hang", "inprogress_forever", "init")


if __name__ == "__main__":
    unittest.main()

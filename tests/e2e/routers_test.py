"""What is told of the routers, and what is done when one collapses."""
import math
import unittest

from edited_checkpoint import edit_checkpoint
from event_reader import read_scalars
from molora_job import DATA, EXIT_CONFIG, MODEL, Job

PLANTED_AFTER = 3
ACTIONS = ("raise_loss", "bias", "revive")

# A router in each of four layers: four experts, one for each token.
RUN = f"""
model: {{path: {MODEL}}}
adapter:
  num_experts: 4
  experts_per_token: 1
  lora_rank: 2
  lora_alpha: 4
  expert_compute: dense
  router: {{gate: softmax_topk, health: {{every: 5, window: 8}}}}
  targets: {{q_proj: lora, k_proj: frozen, v_proj: frozen, o_proj: frozen,
            gate_proj: frozen, up_proj: frozen, down_proj: experts}}
data: {{train: [{DATA}/dev.jsonl], max_length: 48, packing: true, cache_dir: FOLDER/cache}}
train: {{max_steps: 150, global_batch_size: 2, micro_batch_size: 2, learning_rate: 0.001,
        schedule: constant, warmup_ratio: 0}}
checkpoint: {{every: 60, keep_last: 4}}
supervisor: {{max_restarts: 0, report_every: 0}}
"""


class RouterHealthE2E(Job):
    def setUp(self):
        super().setUp()
        self.config.write_text(RUN.replace("FOLDER", str(self.folder)))

    def lines(self, name, kind):
        return [line for line in self.metrics(name) if line["type"] == kind]

    def train_with_collapse(self, name, action, *overrides):
        """A run whose routers, from step 4 on, send every token to expert 2."""
        settings = (f"adapter.router.health.action={action}", *overrides)
        self.train(name, 1, *settings, f"train.max_steps={PLANTED_AFTER}", f"checkpoint.every={PLANTED_AFTER}")

        def plant(tensor, numbers):
            if tensor.startswith("adapter/") and tensor.endswith("down_proj.router.weight"):
                return [0.0] * len(numbers)
            if tensor.startswith("adapter/") and tensor.endswith("down_proj.router.bias"):
                return [1.0 if expert == 2 else 0.0 for expert in range(len(numbers))]
            return None
        self.assertTrue(edit_checkpoint(self.step_folder(name, PLANTED_AFTER), plant))
        return self.run_molora(*self.train_arguments(name, 1, *settings), "--allow-change")

    def check_collapse(self, name, action, log):
        alarms = self.lines(name, "alarm")
        routers = self.lines(name, "run")[0]["routers"]
        for router in routers:
            of_router = [line for line in alarms if line["router"] == router]
            self.assertEqual(of_router[0]["kind"], "collapsed", router)
            self.assertLessEqual(of_router[0]["step"], PLANTED_AFTER + 50, router)
            self.assertEqual(of_router[0]["dead"], [0, 1, 3], router)
            self.assertGreater(of_router[0]["load"][2], 0.9, router)
            self.assertEqual(of_router[0]["action"], action, router)
            self.assertIn(f"router {router} has collapsed: 3 of 4 experts are hardly used (0, 1, 3)", log)
        return alarms, routers

    def check_recovery(self, action, *overrides):
        _, log = self.train_with_collapse(action, action, *overrides)
        alarms, routers = self.check_collapse(action, action, log)
        for router in routers:
            kinds = [line["kind"] for line in alarms if line["router"] == router]
            self.assertEqual(kinds[-1], "recovered", f"{router}: {kinds}")
        last = self.lines(action, "routers")[-1]
        for router in last["routers"]:
            self.assertLessEqual(len(router["dead"]), 2, router)
        self.assertIn("has recovered", log)

    def test_a_planted_collapse_recovers_by_the_loss(self):
        self.check_recovery("raise_loss", "adapter.router.balance_loss_coef=0.01")

    def test_a_planted_collapse_recovers_by_the_bias(self):
        self.check_recovery("bias")

    def test_a_planted_collapse_recovers_by_reviving(self):
        self.check_recovery("revive")

    def test_a_planted_collapse_is_told_of_when_nothing_is_done(self):
        _, log = self.train_with_collapse("warn", "warn", "train.max_steps=50", "train.learning_rate=0.00001")
        alarms, routers = self.check_collapse("warn", "warn", log)
        self.assertEqual([line["kind"] for line in alarms], ["collapsed"] * len(routers))

    def test_a_run_that_was_killed_takes_the_same_decisions(self):
        overrides = ("adapter.router.health.action=revive", "adapter.router.health.window=8",
                     "adapter.router.health.dead_below=0.9", "adapter.router.health.collapsed_above=0.3",
                     "adapter.router.bias_update_rate=0.001", "train.max_steps=60", "checkpoint.every=7")
        self.train("whole", 2, *overrides)
        self.assertTrue(self.lines("whole", "alarm"), "the thresholds are such that there are alarms")
        for after in (5, 23, 41):
            process = self.start(*self.train_arguments("killed", 2, *overrides))
            self.wait_for_steps(process, "killed", after)
            self.kill_ranks(process)
        self.train("killed", 2, *overrides)
        self.assertEqual(self.metrics("killed"), self.metrics("whole"))
        self.assertEqual(self.checkpoint_bytes("killed", 60), self.checkpoint_bytes("whole", 60))

    def test_losses_and_readings_are_told(self):
        self.train("told", 2, "train.max_steps=5", "train.tensorboard=true", "parallel.tensor_parallel=2",
                   "adapter.router.entropy_loss_coef=0.01", "adapter.router.localized_balance.coef=0.1",
                   "adapter.router.localized_balance.tasks=[medquad]")
        steps = self.lines("told", "step")
        events = read_scalars(self.folder / "told" / "tensorboard")
        for step in steps:
            for name in ("balance_loss", "z_loss", "entropy_loss", "localized_balance_loss"):
                self.assertGreater(step[name], 0.0, name)
                self.assertAlmostEqual(events[f"train/{name}"][step["step"]], step[name], places=5)
            self.assertLess(step["entropy_loss"], math.log(4))
        reading, = self.lines("told", "routers")
        self.assertEqual(reading["step"], 5)
        self.assertEqual(reading["tokens"], steps[-1]["tokens"])
        names = self.lines("told", "run")[0]["routers"]
        self.assertEqual([router["name"] for router in reading["routers"]], names)
        # Over the five steps that there were.
        for router, line in enumerate(reading["routers"]):
            counts = [sum(step["expert_load"][router][expert] for step in steps) for expert in range(4)]
            for expert, share in enumerate(line["load"]):
                self.assertAlmostEqual(share, counts[expert] / sum(counts))
            self.assertEqual(line["top1_share"], max(line["load"]))
            self.assertEqual((line["layer"], line["linear"]), (router, "down_proj"))
        mean_entropy = sum(line["entropy"] for line in reading["routers"]) / len(names)
        self.assertAlmostEqual(mean_entropy, steps[-1]["entropy_loss"])
        self.assertTrue(reading["tasks"])
        self.assertEqual(set(reading["scripts"]), {"latin"})
        for load in (*reading["tasks"].values(), *reading["scripts"].values()):
            self.assertAlmostEqual(sum(load), 1.0)

    def test_a_task_that_the_data_do_not_have_is_refused(self):
        for ranks in (1, 2):
            _, log = self.train(f"refused-{ranks}", ranks, "adapter.router.localized_balance.coef=0.1",
                                "adapter.router.localized_balance.tasks=[medquad,exams]", expect=EXIT_CONFIG)
            self.assertIn("no sample of the training data is of task 'exams'", log)
            self.assertIn("'medquad'", log)


if __name__ == "__main__":
    unittest.main()

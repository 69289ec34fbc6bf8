"""A run on two hosts whose link goes down: for a moment, for good, and until it returns.

The hosts are network namespaces (tests/support/two_hosts.sh); needs root."""
import subprocess
import time
import unittest

from fault_test import FaultCase
from molora_job import EXIT_DONE, EXIT_PEER, MOLORA, ROOT

HOSTS = str(ROOT / "tests" / "support" / "two_hosts.sh")
TIMEOUT = 12  # supervisor.heartbeat_timeout; what the rest may take comes on top
STEPS = 120


class TwoHostsFaultE2E(FaultCase):
    RANKS = 4

    def setUp(self):
        super().setUp()
        self.hosts = self.folder / "hosts"
        self.hosts.mkdir()
        self.addCleanup(subprocess.run, ["bash", HOSTS, "down", str(self.hosts)], check=True)
        subprocess.run(["bash", HOSTS, "up", str(self.hosts)], check=True)

    def link(self, state):
        subprocess.run(["bash", HOSTS, "link", str(self.hosts), state], check=True)

    def start_on_both(self, name, *overrides):
        holder = (self.hosts / "holder1").read_text().strip()
        sets = [part for text in (f"output_dir={self.folder / name}", f"train.max_steps={STEPS}",
                                  "parallel.expert_parallel=2", "parallel.exchange=tokens",
                                  "train.global_batch_size=4", f"supervisor.heartbeat_timeout={TIMEOUT}",
                                  "supervisor.restart_delay=0.1", *overrides) for part in ("--set", text)]
        command = ["nsenter", "-t", holder, "-n", "-u", "-m", "env", f"OMPI_MCA_plm_rsh_agent={self.hosts / 'agent'}",
                   "sh", "-c", 'cd "$0" && exec "$@"', str(ROOT),
                   MOLORA, "train", str(self.config), "--hosts", "10.77.0.1:2,10.77.0.2:2", *sets]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def end_with(self, process, code, timeout=300):
        output = self.end_of(process, timeout)
        self.assertEqual(process.returncode, code, output)
        return output

    def wait_for_fault(self, name, process, timeout):
        begin = time.monotonic()
        while not self.reasons(name) and process.poll() is None:
            self.assertLess(time.monotonic() - begin, timeout, "nothing was noticed")
            time.sleep(0.1)
        return time.monotonic() - begin

    def reference(self):
        self.end_with(self.start_on_both("whole"), EXIT_DONE)

    def test_two_seconds_are_survived(self):
        process = self.start_on_both("short")
        self.wait_for_steps(process, "short", 15)
        self.link("down")
        time.sleep(2)
        self.link("up")
        self.end_with(process, EXIT_DONE)
        self.assertEqual(self.reasons("short"), [])
        self.reference()
        self.assert_same_run("short", "whole", STEPS)

    def test_for_good_ends_with_76_and_nothing_stays(self):
        process = self.start_on_both("lost")
        self.wait_for_steps(process, "lost", 15)
        self.link("down")
        begin = time.monotonic()
        output = self.end_with(process, EXIT_PEER)
        seconds = time.monotonic() - begin
        self.assertLess(seconds, TIMEOUT + 10 + 15, output)
        reason = self.reason("lost")
        self.assertEqual((reason["fault"], reason["exit_code"]), ("FAULT_LOST", EXIT_PEER), reason)
        self.assertIn("molora-h2", reason["sentence"])
        deadline = begin + TIMEOUT + 45
        while time.monotonic() < deadline:
            try:
                self.assert_nothing_left("lost")
                break
            except AssertionError:
                time.sleep(0.5)
        self.assert_nothing_left("lost")
        daemons = subprocess.run(["pgrep", "-fa", "orted.*10.77.0"], capture_output=True, text=True)
        self.assertEqual(daemons.stdout, "")
        print(f"\nended {seconds:.1f} s after the link went down: {reason['sentence']}")

    def test_restarted_when_the_link_returns(self):
        process = self.start_on_both("back", "supervisor.max_restarts=3", "supervisor.wait_for_hosts=200")
        self.wait_for_steps(process, "back", 15)
        self.link("down")
        self.wait_for_fault("back", process, 90)
        time.sleep(5)
        self.link("up")
        output = self.end_with(process, EXIT_DONE)
        self.assertIn("10.77.0.2", output)
        self.reference()
        self.assert_same_run("back", "whole", STEPS)

    def test_goes_on_without_a_host_that_stays_away(self):
        process = self.start_on_both("smaller", "supervisor.max_restarts=3", "supervisor.wait_for_hosts=2")
        self.wait_for_steps(process, "smaller", 15)
        self.link("down")
        output = self.end_with(process, EXIT_DONE)
        self.assertIn("without 10.77.0.2", output)
        self.link("up")
        self.reference()
        one, other = self.steps("smaller"), self.steps("whole")
        self.assertEqual(len(one), STEPS)
        for a, b in zip(one, other):
            self.assertEqual(a["tokens"], b["tokens"])
            self.assertLess(abs(a["loss"] - b["loss"]), 1e-4 * b["loss"], (a["step"], a["loss"], b["loss"]))


if __name__ == "__main__":
    unittest.main()

"""docs/guide.md does what it says: its blocks marked `bash` are run in order in one folder, and what is shown after
one is compared with what came out."""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from molora_job import MOLORA, ROOT

GUIDE = ROOT / "docs" / "guide.md"
BLOCK = re.compile(r"^```bash\n(?P<commands>.*?)^```\n(?:```text\n(?P<shown>.*?)^```\n)?", re.M | re.S)


def blocks_of(text):
    """[(line number, commands, lines shown)]"""
    return [(text.count("\n", 0, block.start()) + 2, block["commands"], (block["shown"] or "").splitlines())
            for block in BLOCK.finditer(text)]


def missing_lines(shown, output):
    """The shown lines that are not in the output; `...` in one stands for anything. Their order is not compared: the
    log and the results are two streams."""
    def pattern_of(line):
        return re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")))

    there = [line.rstrip() for line in output.splitlines()]
    return [line for line in shown if not any(pattern_of(line).fullmatch(candidate) for candidate in there)]


class GuideE2E(unittest.TestCase):
    def run_block(self, commands, folder):
        environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)

    def test_every_command_runs_and_says_what_is_shown(self):
        blocks = blocks_of(GUIDE.read_text())
        self.assertGreater(len(blocks), 10)
        with tempfile.TemporaryDirectory(prefix="molora-guide-") as name:
            folder = pathlib.Path(name)
            for part in ("configs", "tests"):
                (folder / part).symlink_to(ROOT / part)
            (folder / "bin").mkdir()
            (folder / "bin" / "molora").symlink_to(MOLORA)
            for line, commands, shown in blocks:
                done = self.run_block(commands, folder)
                where = f"{GUIDE.name}:{line}"
                self.assertEqual(done.returncode, 0, f"{where}\n{commands}\n{done.stdout}")
                self.assertEqual(missing_lines(shown, done.stdout), [], f"{where}: shown, but not in\n{done.stdout}")

    def test_a_line_that_is_not_there_is_missed(self):
        self.assertEqual(missing_lines(["a ... c", "d"], "x\na b c\nd\n"), [])
        self.assertEqual(missing_lines(["a", "b", "c ..."], "a b\nb\nabc\n"), ["a", "c ..."])


if __name__ == "__main__":
    unittest.main()

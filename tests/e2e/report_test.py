"""What is shown of a run: the page of `molora report`, TensorBoard's event files, `molora watch`."""
import fcntl
import html.parser
import json
import math
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from event_reader import read_scalars
from molora_job import EXIT_CONFIG, EXIT_DONE, MEMORY, ROOT, Job, TinyJob

DATA = "tests/assets/data/multitask/dev.jsonl"
VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(html.parser.HTMLParser):
    """A page that was read: what is wrong with its form, and what is on it."""

    def __init__(self, text):
        super().__init__()
        self.open, self.faults, self.ids, self.texts, self.attributes, self.counts = [], [], [], [], [], {}
        self.labels = []
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"not closed: {self.open}")

    def handle_startendtag(self, tag, attrs):
        self.note(tag, attrs)

    def handle_starttag(self, tag, attrs):
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def note(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        self.attributes += [(tag, name, value) for name, value in attrs]
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name == "aria-labelledby":
                self.labels += value.split()
        if tag == "svg" and dict(attrs).get("role") == "img" and "title" not in self.rest_of_tag():
            self.faults.append(f"an SVG without a title: {attrs}")

    def rest_of_tag(self):
        line, column = self.getpos()
        lines = self.rawdata.split("\n")[line - 1:line + 4]
        return "\n".join(lines)[column:]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


# Charts that every page of a run with steps and evaluations has.
CHARTS = ("training-loss", "held-out-loss", "learning-rate", "gradient-norm", "task-loss", "evenness", "largest-share",
          "experts-0-0", "experts-time-0", "tokens-per-second", "step-time", "timeline-0")


class PageJob(Job):
    def report(self, *names, output=None):
        path = output or self.folder / "page.html"
        out, _ = self.run_molora("report", *(self.folder / name for name in names), "--output", path)
        self.assertEqual(out, f"{path}\n")
        return path.read_text(encoding="utf-8")

    def check_page(self, text):
        page = Page(text)
        self.assertEqual(page.faults, [])
        self.assertEqual(len(page.ids), len(set(page.ids)), "an id occurs twice")
        self.assertEqual(set(page.labels) - set(page.ids), set(), "a label that is not there")
        for tag, name, value in page.attributes:
            if name in ("src", "href", "srcset", "data", "action", "xlink:href", "poster"):
                self.assertTrue(value.startswith("#"), f"<{tag} {name}={value}>")
            self.assertFalse(name.startswith("on"), f"<{tag} {name}>")
        self.assertNotRegex(text, r"url\(|@import|\b(fetch|XMLHttpRequest|WebSocket)\b")
        self.assertNotIn("link", page.counts)
        return page

    def values_of(self, text, chart):
        figure = re.search(rf'<figure class="card chart" id="{chart}">.*?</figure>', text, re.S).group(0)
        return json.loads(re.search(r'class="values">(.*?)</script>', figure, re.S).group(1))

    def write_run(self, name, lines, **files):
        folder = self.folder / name
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(lines))
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder


class ReportE2E(PageJob):
    def test_the_page_of_a_real_run_has_every_chart_and_its_numbers(self):
        self.train("one", 2, f"data.eval=[{DATA}]", "eval.max_samples_per_task=4", "eval.every=6",
                   "supervisor.report_every=4", "parallel.tensor_parallel=2")
        text = self.report("one")
        page = self.check_page(text)
        for chart in (*CHARTS, "memory-0", "rank-time-0", "communication-0", "task-accuracy"):
            self.assertIn(chart, page.ids)
        # Twelve steps are drawn one by one: these are the file's numbers.
        data = self.values_of(text, "training-loss")
        self.assertEqual([point[0] for point in data["lines"][0]["points"]], list(range(1, 13)))
        for step, point in zip(self.steps("one"), data["lines"][0]["points"], strict=True):
            self.assertTrue(math.isclose(step["loss"], point[1], rel_tol=1e-4), (step["loss"], point))
        evaluations = [line for line in self.metrics("one") if line["type"] == "eval"]
        held_out = self.values_of(text, "held-out-loss")["lines"][0]["points"]
        self.assertEqual([point[0] for point in held_out], [line["step"] for line in evaluations])
        for words in ("done", "12 of 12", "medqwen3-1m", "4 experts of LoRA rank 4, 2 for each token",
                      f"from {evaluations[0]['loss']:.3f}", "rank 1", "step-00000012", "all_to_all"):
            self.assertIn(words, page.text)
        for task in evaluations[-1]["tasks"]:
            if "loss" in task:
                self.assertIn(task["task"], page.text)
        self.assertEqual(self.report("one", output=self.folder / "again.html").split("<footer>")[0],
                         text.split("<footer>")[0])

    def test_several_runs_whole_broken_and_empty_share_a_page(self):
        lines = [json.dumps(line) + "\n" for line in made_up_run(60)]
        self.write_run("whole", lines)
        self.write_run("torn", [*lines[:40], "no metrics\n", lines[41][:30]],
                       **{"config.yaml": "train: {max_steps: [", "reason.json": '{"fault": "FAULT_LO'})
        self.write_run("empty", [])
        (self.folder / "empty" / "metrics.jsonl").unlink()
        page = self.check_page(self.report("whole", "torn", "empty"))
        for words in ("3 runs", "done", "empty", "Not everything could be read",
                      "1 of its lines are no metrics lines, the first is line 41", "cut short", "reason.json"):
            self.assertIn(words, page.text)
        self.assertIn("This run has no step yet", self.check_page(self.report("empty")).text)
        self.assertEqual(self.check_page(self.report("torn")).ids.count("training-loss"), 1)
        # The page goes into the folder of the (first) run when nothing else is asked for.
        self.run_molora("report", self.folder / "whole")
        self.check_page((self.folder / "whole" / "report.html").read_text())
        _, log = self.run_molora("report", self.folder / "none", expect=EXIT_CONFIG)
        self.assertIn("there is no such folder", log)

    def test_routers_tasks_and_faults_are_shown(self):
        folder = self.write_run("health", [json.dumps(line) + "\n" for line in made_up_run(60)])
        (folder / "logs").mkdir()
        (folder / "logs" / "faults.jsonl").write_text(json.dumps(
            {"fault": "FAULT_LOST", "exit_code": 76, "sentence": "rank 1 <b>was lost</b>", "rank": 1, "step": "14",
             "time": "2026-01-31T09:30:00Z"}) + "\n")
        text = self.report("health")
        page = self.check_page(text)
        for chart in ("dead-experts", "tasks-experts-0-0", "tasks-experts-0-2"):
            self.assertIn(chart, page.ids)
        self.assertIn("rank 1 <b>was lost</b>", page.text)
        self.assertIn("dosage <i>", page.text)
        shares = re.findall(r"task exams, expert (\d): ([\d.]+) %", text)
        self.assertEqual(shares[:4], [("0", "70.0"), ("1", "10.0"), ("2", "20.0"), ("3", "0.0")])

    def test_colours_can_be_told_from_what_they_stand_on(self):
        text = self.report(self.write_run("run", [json.dumps(line) + "\n" for line in made_up_run(20)]).name)
        themes = re.findall(r"(?:\n\s*|\{ )(:root[^{]*)\{([^}]*)\}", text)
        self.assertEqual(len(themes), 5)
        for where, body in themes:
            colours = dict(re.findall(r"--(\w[\w-]*): (#\w+);", body))
            for name, back, least in (("ink", "card", 7), ("muted", "card", 4.5), ("muted", "page", 4.5),
                                      ("accent", "page", 4.5), ("good", "good-back", 4.5), ("bad", "bad-back", 4.5),
                                      ("wait", "wait-back", 4.5), ("ink", "notice", 4.5),
                                      *((f"s{i}", "card", 3) for i in range(6)),
                                      *((f"t{i}", f"q{i}", 4.5) for i in range(9))):
                ratio = contrast(colours[name], colours[back])
                self.assertGreaterEqual(ratio, least, f"{where.strip()}: {name} on {back}")


def contrast(a, b):
    """As WCAG 2 defines it."""
    def luminance(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def made_up_run(steps, layers=3, experts=4):
    """Lines of a run with everything in them, router health included."""
    linears = ("gate_proj", "down_proj")
    names = [f"model.layers.{layer}.mlp.{linear}" for layer in range(layers) for linear in linears]
    yield {"type": "run", "step": 0, "num_steps": steps, "routers": names, "timing": {"ranks": 2}}
    for step in range(steps + 1):
        if step:
            load = [[1 + (step * (r + 3) * (e + 1)) % 7 if (r, e) != (1, 3) else 0 for e in range(experts)]
                    for r in range(len(names))]
            yield {"type": "step", "step": step, "loss": 1 + 2 / step, "learning_rate": 1e-3 * (1 - step / steps),
                   "grad_norm": 0.5 + 1 / step, "tokens": 2000, "skipped": step == 7, "expert_load": load,
                   "sent_bytes": {"tp": {"all_reduce": 4096}, "dp": {"all_to_all": 1 << 20}},
                   "timing": {"seconds": 0.25, "tokens_per_second": 8000 + step}}
        if step % 20 == 0:
            yield {"type": "eval", "step": step, "loss": 3 - 1.5 * step / steps, "tasks": [
                {"task": "exams", "samples": 50, "loss": 3 - 1.5 * step / steps, "token_accuracy": 0.5, "questions": 50,
                 "correct": 12 + 15 * step // steps, "accuracy": (12 + 15 * step // steps) / 50, "chance": 0.25},
                {"task": "dosage <i>", "samples": 30, "loss": 2.5, "token_accuracy": 0.4}]}
        if step and step % 20 == 0:
            yield {"type": "ranks", "step": step, "timing": {"steps": 20, "ranks": [
                {"host": "a", "work": 0.2, "waited": 0.05, "tokens": 1000, "peak_memory_gib": 1.25},
                {"host": "b", "work": 0.15, "waited": 0.1, "tokens": 1000, "peak_memory_gib": 1.5}]}}
            yield {"type": "routers", "step": step, "tokens": 2000, "routers": [
                {"name": name, "layer": 0, "linear": "gate_proj", "load": [0.5, 0.3, 0.2, 0.0], "entropy": 1.0,
                 "top1_share": 0.5, "dead": [3]} for name in names],
                "tasks": {"exams": [0.7, 0.1, 0.2, 0.0], "dosage <i>": [0.25] * 4},
                "scripts": {"latin": [0.6, 0.2, 0.2, 0.0], "han": [0.1, 0.4, 0.5, 0.0]}}


class TensorBoardE2E(TinyJob):
    """Event files hold what metrics.jsonl does, also of runs that were killed and went on."""
    PARENT_FOLDER = MEMORY
    RANKS = 1

    def expected(self, name):
        """tag -> {step: value} of the numbers that do not depend on the clock."""
        tags = {}
        for line in self.metrics(name):
            if line["type"] == "step":
                for key, value in line.items():
                    if key != "step" and type(value) in (int, float):
                        tags.setdefault(f"train/{key}", {})[line["step"]] = value
            if line["type"] == "eval":
                tags.setdefault("eval/loss", {})[line["step"]] = line["loss"]
        return tags

    def check_events(self, name, scalars):
        for tag, steps in self.expected(name).items():
            self.assertEqual(sorted(scalars[tag]), sorted(steps), tag)
            for step, value in steps.items():
                self.assertEqual(scalars[tag][step], struct.unpack("f", struct.pack("f", value))[0], (tag, step))

    def read(self, folder):
        return read_scalars(folder)

    def test_killed_and_resumed_without_a_step_twice(self):
        overrides = ["train.tensorboard=true", f"data.eval=[{DATA}]", "eval.max_samples_per_task=2", "eval.every=10"]
        process = self.start(*self.train_arguments("killed", 1, *overrides))
        self.wait_for_steps(process, "killed", 13)
        self.kill_ranks(process)
        self.assertLess(len(self.steps("killed")), 22)
        self.train_to_the_end("killed", *overrides)
        events = self.folder / "killed" / "tensorboard"
        self.assertEqual(len(list(events.iterdir())), 2)
        scalars = self.read(events)
        self.assertEqual(sorted(scalars["train/loss"]), list(range(1, 23)))
        self.check_events("killed", scalars)
        # The same from the metrics afterwards, twice into one folder.
        for _ in range(2):
            self.run_molora("report", self.folder / "killed", "--tensorboard", self.folder / "converted")
        converted = self.read(self.folder / "converted")
        self.check_events("killed", converted)
        self.assertEqual({tag: steps for tag, steps in converted.items()}, scalars)

    def test_a_run_that_asks_for_it_later_has_its_earlier_steps(self):
        self.train_to_the_end("later", "train.max_steps=10", "checkpoint.every=5")
        self.assertFalse((self.folder / "later" / "tensorboard").exists())
        self.run_molora(*self.train_arguments("later", 1, "train.tensorboard=true", "checkpoint.every=5"),
                        "--allow-change")
        scalars = self.read(self.folder / "later" / "tensorboard")
        self.assertEqual(sorted(scalars["train/loss"]), list(range(1, 23)))
        self.check_events("later", scalars)


class WatchE2E(PageJob):
    def lines(self, count, steps=40):
        return [json.dumps(line) + "\n" for line in made_up_run(steps)][:count]

    def test_once_prints_one_frame(self):
        self.write_run("run", self.lines(None, 60))
        out, _ = self.run_molora("watch", self.folder / "run", "--once")
        for words in ("run  done", "100%  step 60/60", "training loss", "held-out loss", "exams", "54.0% [40, 67]",
                      "expert evenness", "1 expert not chosen"):
            self.assertIn(words, out)
        self.assertNotIn("\x1b", out)
        out, _ = self.run_molora("watch", self.folder / "not-there", "--once")
        self.assertIn("no step yet", out)

    def test_lines_follow_a_run_through_a_restart_to_its_end(self):
        process = self.start("watch", self.folder / "run", "--every", "0.05")
        all_lines = self.lines(None)
        folder = self.write_run("run", [])
        metrics = folder / "metrics.jsonl"

        def next_line(*words):
            for line in process.stdout:
                if all(word in line for word in words):
                    return
            self.fail(f"ended without {words}")
        half = len(all_lines) // 2
        with metrics.open("a") as file:
            file.write("".join(all_lines[:half]) + all_lines[half][:20])
        next_line("step ", "/40")
        (folder / "new").write_text("".join(all_lines[:8]))
        (folder / "new").rename(metrics)
        next_line("goes on from step")
        with metrics.open("a") as file:
            file.write("".join(all_lines[8:]))
        next_line("step 40/40")
        rest = process.stdout.read()  # to its end, by the reader that has taken the lines before
        self.assertEqual(process.wait(timeout=60), EXIT_DONE)
        self.assertIn("run  done", rest)

    def start_on_terminal(self, *arguments, size=(24, 80)):
        main, other = pty.openpty()
        self.addCleanup(os.close, main)
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        process = subprocess.Popen(self.command(*arguments), cwd=ROOT, stdin=other, stdout=other, stderr=other,
                                   start_new_session=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        os.close(other)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process, main

    def read_until(self, terminal, words, timeout=60):
        text, deadline = "", time.monotonic() + timeout
        while words not in text:
            self.assertLess(time.monotonic(), deadline, f"no {words!r} in {text!r}")
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    text += os.read(terminal, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
        self.assertIn(words, text)
        return text

    def test_a_terminal_is_drawn_in_place_and_left_clean(self):
        self.write_run("run", self.lines(20))
        process, terminal = self.start_on_terminal("watch", self.folder / "run", "--every", "0.1")
        first = self.read_until(terminal, "exams")
        self.assertIn("\x1b[?1049h", first)
        self.assertIn("\u2588", first)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 30, 0, 0))
        process.send_signal(signal.SIGWINCH)
        self.read_until(terminal, "\x1b[J")
        frame = self.read_until(terminal, "\x1b[J").split("\x1b[H")[-1]
        shown = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "", frame).split("\r\n")
        self.assertLessEqual(len(shown), 5)
        self.assertLessEqual(max(map(len, shown)), 30)
        process.send_signal(signal.SIGINT)
        last = self.read_until(terminal, "\x1b[?1049l")
        self.assertIn("\x1b[?25h", last)
        self.assertEqual(process.wait(timeout=60), EXIT_DONE)

    def test_a_real_run_is_watched_to_its_end(self):
        run = self.start(*self.train_arguments("run", 1))
        out, _ = self.run_molora("watch", self.folder / "run", "--every", "0.1")
        self.assertIn("step 12/12", out)
        self.assertIn("run  done", out)
        run.communicate(timeout=60)
        self.assertEqual(run.returncode, EXIT_DONE)


if __name__ == "__main__":
    unittest.main()

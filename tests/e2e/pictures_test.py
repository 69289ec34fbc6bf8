"""Pictures in the programs that they are for: the page in Chromium, event files in TensorBoard itself.

Both come with `bash tools/setup.sh pictures`."""
import json
import os
import pathlib
import re
import subprocess
import unittest

from headless_browser import Browser
from molora_job import DATA
from report_test import PageJob, TensorBoardE2E, made_up_run

CACHE = pathlib.Path(os.environ.get("MOLORA_CACHE", pathlib.Path.home() / ".cache/molora"))
TENSORBOARD_PYTHON = os.environ.get("MOLORA_TENSORBOARD_PYTHON", str(CACHE / "tensorboard-2.21.0/bin/python"))

READ_WITH_TENSORBOARD = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
tags = events.Tags()["scalars"]
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags}))
"""


class RealTensorBoardE2E(TensorBoardE2E):
    """The tests of event files again, read by TensorBoard's own reader."""

    def read(self, folder):
        self.assertTrue(os.path.exists(TENSORBOARD_PYTHON),
                        f"{TENSORBOARD_PYTHON} is not there: bash tools/setup.sh pictures")
        done = subprocess.run([TENSORBOARD_PYTHON, "-c", READ_WITH_TENSORBOARD, str(folder)], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        scalars = {}
        for tag, events in json.loads(done.stdout).items():
            steps = [step for step, _ in events]
            self.assertEqual(len(steps), len(set(steps)), f"{tag} has a step twice")
            scalars[tag] = dict(map(tuple, events))
        return scalars


# Elements that stick out of the page, or text out of its card; what scrolls by itself may be wider inside.
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.scroll') && !e.matches('.scroll')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.tagName + '.' + (e.className.baseVal ?? e.className) + ' ' + e.textContent.slice(0, 30))
"""
# Labels of one axis that lie on each other.
COLLISIONS = """
[...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text.tick')].map(t => [t, t.getBoundingClientRect()])
    .filter(([t, b]) => b.width > 0);
  return boxes.flatMap(([t, a], i) => boxes.slice(i + 1).filter(([u, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    .map(([u]) => t.textContent + ' / ' + u.textContent));
})
"""
PLOTS = """
[...document.querySelectorAll('.plot > svg, svg.heat, svg.bar')].filter(s => s.getBoundingClientRect().width > 0)
  .map(s => { const b = s.getBoundingClientRect();
              return {bar: s.matches('.bar'), x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height,
                      name: (s.closest('[id]') || s).id}; })
"""


def brightness(pixel):
    return (299 * pixel[0] + 587 * pixel[1] + 114 * pixel[2]) / 1000


class ScreenshotE2E(PageJob):
    """The page as people see it. MOLORA_SCREENSHOTS names a folder that the pictures are kept in."""

    def setUp(self):
        super().setUp()
        self.browser = Browser().__enter__()
        self.addCleanup(self.browser.__exit__)

    def pages(self):
        """name -> page: of one real run, of three, of a broken one, of an empty one."""
        self.train("real", 2, f"data.eval=[{DATA}/dev.jsonl]", "eval.max_samples_per_task=4", "eval.every=6",
                   "supervisor.report_every=4", "parallel.tensor_parallel=2")
        for name, steps in (("first-run", 60), ("a-second-run-with-a-long-name", 400), ("third", 3000)):
            self.write_run(name, [json.dumps(line) + "\n" for line in made_up_run(steps, layers=6)])
        lines = [json.dumps(line) + "\n" for line in made_up_run(60)]
        broken = self.write_run("broken", [*lines[:30], "???\n", lines[31][:9]], **{"config.yaml": "a: ["})
        (broken / "reason.json").write_text(json.dumps(
            {"fault": "FAULT_LOST", "exit_code": 76, "sentence": "rank 1 (host b) was lost: " + 9 * "word "}))
        (self.folder / "empty").mkdir()
        runs = {"one": ["real"], "made-up": ["first-run"], "broken": ["broken"], "empty": ["empty"],
                "three": ["first-run", "a-second-run-with-a-long-name", "third"]}
        pages = {}
        for name, folders in runs.items():
            pages[name] = self.folder / f"{name}.html"
            self.report(*folders, output=pages[name])
        return pages

    def keep(self, name):
        folder = os.environ.get("MOLORA_SCREENSHOTS")
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_picture(f"{folder}/{name}.png")

    def check_plots(self, name):
        """Every chart has something on it: a bar is not its card's colour, on others there are several colours."""
        card = bytes(map(int, re.findall(r"\d+", self.browser.value(
            "getComputedStyle(document.querySelector('.card')).backgroundColor"))))
        for plot in self.browser.value(PLOTS):
            where, is_bar = plot.pop("name"), plot.pop("bar")
            _, _, rows = self.browser.picture(**plot)
            colours = {bytes(row[i:i + 3]) for row in rows for i in range(0, len(row), 3)}
            self.assertGreater(len(colours - {card}), 0 if is_bar else 3, f"{name}: {where} is blank")

    def test_pages_on_desktop_and_phone_in_light_and_dark(self):
        for name, path in self.pages().items():
            for width in (360, 1280):
                for dark in (False, True):
                    what = f"{name}-{width}-{'dark' if dark else 'light'}"
                    with self.subTest(what):
                        self.browser.show(path, width, dark)
                        self.keep(what)
                        self.assertEqual(self.browser.requests, [f"file://{path}"])
                        self.assertEqual(self.browser.value(TOO_WIDE), [])
                        self.assertEqual(self.browser.value("document.documentElement.scrollWidth"), width)
                        self.assertEqual(self.browser.value(COLLISIONS), [])
                        _, _, rows = self.browser.picture(x=0, y=0, width=8, height=8)
                        ground = brightness(rows[2][:3])
                        self.assertTrue(ground < 50 if dark else ground > 200, ground)
                        if width == 1280 and name in ("one", "three"):
                            self.check_plots(what)

    def test_without_a_script_and_by_the_choice_on_the_page(self):
        path = self.pages()["one"]
        self.browser.show(path, 1280, script=False)
        self.check_plots("no script")
        self.browser.show(path, 1280)
        ground = "getComputedStyle(document.body).backgroundColor"
        light = self.browser.value(ground)
        self.browser.value("document.getElementById('theme-dark').checked = true")
        dark = self.browser.value(ground)
        self.assertNotEqual(light, dark)
        self.browser.show(path, 1280, dark=True)
        self.assertEqual(self.browser.value(ground), dark)
        self.browser.value("document.getElementById('theme-light').checked = true")
        self.assertEqual(self.browser.value(ground), light)

    def test_the_pointer_shows_values(self):
        path = self.pages()["one"]
        self.browser.show(path, 1280)
        box = self.browser.value("(s => { s.scrollIntoView(); const b = s.getBoundingClientRect(); return [b.x, b.y, "
                                 "b.width, b.height] })(document.querySelector('#training-loss .plot svg'))")
        self.browser.move_pointer(box[0] + box[2] - 1, box[1] + 100)
        tip = self.browser.value("document.querySelector('.tip').innerText")
        self.assertIn("step 12", tip)
        self.assertIn(f"{self.steps('real')[-1]['loss']:.5g}", tip)
        self.browser.move_pointer(2, 2)
        self.assertIsNone(self.browser.value("document.querySelector('.tip')"))


# Imported for what it has, not to be run here again.
del TensorBoardE2E

if __name__ == "__main__":
    unittest.main()

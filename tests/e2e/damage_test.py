"""Every kind of damage to every file of a checkpoint is named by `molora verify`, and a resume lands before it."""
import contextlib
import shutil
import unittest

from molora_job import EXIT_STORAGE, MEMORY, TINY_SAVES, TinyJob

OTHER, NEWEST = TINY_SAVES[-2:]


def positions(size, number):
    """Spread over a file, its first and last byte among them."""
    return [index * (size - 1) // (number - 1) for index in range(number)]


@contextlib.contextmanager
def damaged(path, how):
    content = path.read_bytes()
    how(path)
    try:
        yield
    finally:
        path.write_bytes(content)


class DamageCase(TinyJob):
    PARENT_FOLDER = MEMORY

    def setUp(self):
        super().setUp()
        self.train_to_the_end("run", "checkpoint.keep_last=5")
        self.run_folder = self.folder / "run"
        self.newest = self.step_folder("run", NEWEST)
        self.files = sorted(path.name for path in self.newest.iterdir())
        self.assertEqual(self.files, sorted(path.name for path in self.step_folder("run", OTHER).iterdir()))
        self.assertGreaterEqual(len(self.files), 5, "two files of each rank and the manifest")

    def flips(self, name, number):
        size = (self.newest / name).stat().st_size
        for index, at in enumerate(positions(size, number)):
            def flip(path, at=at, bit=index % 8):
                content = bytearray(path.read_bytes())
                content[at] ^= 1 << bit
                path.write_bytes(content)
            yield f"bit {index % 8} of byte {at} of {size}", flip

    def truncations(self, name, number):
        size = (self.newest / name).stat().st_size
        for length in positions(size, number):
            yield f"{length} of {size} bytes", lambda path, length=length: path.write_bytes(path.read_bytes()[:length])

    def others(self, name):
        yield "missing", lambda path: path.unlink()
        yield "of another step", lambda path: shutil.copyfile(self.step_folder("run", OTHER) / name, path)

    def check_all(self, num_flips, num_truncations):
        """Each damage of each file: refused, with the file's name."""
        self.run_molora("verify", self.newest)
        for name in self.files:
            for what, how in (*self.flips(name, num_flips), *self.truncations(name, num_truncations),
                              *self.others(name)):
                with self.subTest(f"{name}: {what}"), damaged(self.newest / name, how):
                    out, log = self.run_molora("verify", self.newest, expect=EXIT_STORAGE)
                    self.assertIn(name, out + log)
        self.run_molora("verify", self.newest)


class DamageE2E(DamageCase):
    def test_verify_names_the_damaged_file(self):
        self.check_all(num_flips=3, num_truncations=2)

    def test_a_resume_lands_on_the_last_good_one(self):
        shutil.copytree(self.run_folder, self.folder / "whole")
        flipped, cut, missing, swapped = self.files[0], self.files[1], self.files[2], self.files[3]
        damages = {flipped: next(self.flips(flipped, 2)), cut: next(self.truncations(cut, 2)),
                   missing: list(self.others(missing))[0], swapped: list(self.others(swapped))[1]}
        for name, (what, how) in damages.items():
            with self.subTest(f"{name}: {what}"):
                how(self.newest / name)
                log = self.train_to_the_end("run", "checkpoint.keep_last=5")
                self.assertRegex(log, f"checkpoint of step {NEWEST} is passed over: .*{name}")
                self.assertEqual(self.resumed_step(log), OTHER)
                self.assert_same_run("run", "whole", NEWEST)
                self.assertTrue((self.newest.parent / f"{self.newest.name}.damaged").is_dir())
                shutil.rmtree(self.run_folder)
                shutil.copytree(self.folder / "whole", self.run_folder)


class DamageEverywhereE2E(DamageCase):
    def test_verify_names_the_damaged_file_at_every_position(self):
        self.check_all(num_flips=20, num_truncations=10)


if __name__ == "__main__":
    unittest.main()

"""`molora bench` for the scripts of this folder."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(words, **more):
    """What it printed; ends the script, with all of it, where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=ROOT, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def bench(options, config, *, rows, micro, precision, ranks=1, threads=None, against=(), settings=None):
    """The JSON of a run. options: molora, shape, steps, length. against: settings (text) of a second case, and its
    configuration (a path) where it has another. threads: default as OMP_NUM_THREADS has it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        words = [options.molora, "bench", config, "--steps", options.steps, "--warmup", 1, "--json", file.name,
                 "-n", ranks]
        for setting in (f"model.path={options.shape}", f"model.precision={precision}",
                        f"data.max_length={options.length}", f"train.global_batch_size={rows}",
                        f"train.micro_batch_size={micro}", "adapter.lora_dropout=0",
                        *(f"{key}={value}" for key, value in (settings or {}).items())):
            words += ["--set", setting]
        for other in against:
            words += ["--against" if isinstance(other, pathlib.Path) else "--against-set", other]
        run(words, env={**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})})
        return json.load(open(file.name))

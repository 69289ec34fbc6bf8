#!/usr/bin/env python3
"""Writes tests/assets/torch_archives with the real torch.save(): files that the reader of src/export must understand
or refuse.

usage: make_torch_archives.py FOLDER        (needs torch; made with 2.11.0)
"""
import collections
import os
import pathlib
import sys

import torch

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
base = torch.arange(24, dtype=torch.float32).reshape(4, 6)

state = collections.OrderedDict()
state["whole"] = base
state["transposed"] = base.t()
state["row"] = base[2]
state["columns"] = base[:, 1:3]
state["bf16"] = (base / 8).to(torch.bfloat16)
state["half"] = (base / 8).to(torch.float16)
state["long"] = torch.tensor([-1, 2**40])
state["scalar"] = torch.tensor(2.5)
state["empty"] = torch.zeros(0, 3)
state["parameter"] = torch.nn.Parameter(base[:1].clone())
torch.save(state, folder / "views.bin")

module = torch.nn.Linear(2, 3)
with torch.no_grad():
    module.weight.copy_(base[0].reshape(3, 2))
    module.bias.zero_()
torch.save(module.state_dict(), folder / "module.bin")                     # an OrderedDict with _metadata
torch.save({"a": base}, folder / "dict.bin")
torch.save({"a": base}, folder / "protocol4.bin", pickle_protocol=4)
torch.save({"a": base}, folder / "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"a": base, "steps": 7}, folder / "number.bin")
torch.save(base, folder / "no_dict.bin")


class Harm:
    """What a hostile file looks like: a reader that runs pickles would call os.mkdir."""

    def __reduce__(self):
        return os.mkdir, ("harm-was-done",)


torch.save({"a": base, "harm": Harm()}, folder / "harm.bin")

"""The tensors of a checkpoint as the whole things that they are slices of, read without the program."""
import json
import math
import pathlib
import struct


def read_safetensors(path):
    """(name -> (dtype, shape, bytes), metadata) of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    body = data[8 + length:]
    return {name: (entry["dtype"], entry["shape"], body[entry["data_offsets"][0]:entry["data_offsets"][1]])
            for name, entry in header.items()}, metadata


def place_of_slice(text):
    """([4, 8, 96], [0, 8, 0]) of "4,8,96@0,8,0": shape of the whole tensor, and where the slice begins."""
    return [[int(number) for number in part.split(",") if number] for part in text.split("@")]


class WholeTensor:
    """Slices of one tensor, put together byte by byte."""

    def __init__(self, dtype, shape, item_bytes):
        self.dtype, self.shape, self.item_bytes = dtype, shape, item_bytes
        self.bytes = bytearray(math.prod(shape) * item_bytes)
        self.is_filled = bytearray(math.prod(shape))

    def put(self, shape, offset, data):
        """Copies a slice, row after row of its last dimension. Slices must not overlap."""
        row = shape[-1] if shape else 1
        for index in range(math.prod(shape) // row if row else 0):
            at, rest = 0, index
            place = [0] * len(shape)
            for dim in range(len(shape) - 2, -1, -1):
                rest, place[dim] = divmod(rest, shape[dim])
            for dim, size in enumerate(self.shape):
                at = at * size + offset[dim] + place[dim]
            assert not any(self.is_filled[at:at + row]), "slices overlap"
            self.is_filled[at:at + row] = b"\1" * row
            begin = index * row * self.item_bytes
            self.bytes[at * self.item_bytes:(at + row) * self.item_bytes] = data[begin:begin + row * self.item_bytes]

    def value(self):
        assert all(self.is_filled), "slices leave a gap"
        return self.dtype, self.shape, bytes(self.bytes)


def whole_tensors(step_folder):
    """Name -> (dtype, shape, bytes) of every tensor of a checkpoint, whatever layout wrote it."""
    whole = {}
    for path in sorted(pathlib.Path(step_folder).glob("*.safetensors")):
        tensors, metadata = read_safetensors(path)
        for name, (dtype, shape, data) in tensors.items():
            text = metadata.get("slice:" + name)
            global_shape, offset = place_of_slice(text) if text else (shape, [0] * len(shape))
            item_bytes = len(data) // max(1, math.prod(shape))
            tensor = whole.setdefault(name, WholeTensor(dtype, global_shape, item_bytes))
            assert (tensor.dtype, tensor.shape) == (dtype, global_shape), f"{path}: {name}"
            tensor.put(shape, offset, data)
    return {name: tensor.value() for name, tensor in sorted(whole.items())}

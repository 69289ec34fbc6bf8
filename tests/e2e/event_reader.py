"""Reads TensorBoard event files with nothing of TensorBoard's: the TFRecord frame, CRC-32C bit by bit, protobuf's wire
format by hand."""
import pathlib
import struct


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """The records of a file; one that is cut short is the last and left out."""
    at = 0
    while at + 12 <= len(data):
        length, = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            return
        body = data[at + 12:at + 12 + length]
        if struct.unpack_from("<I", data, at + 8)[0] != masked(data[at:at + 8]):
            raise ValueError(f"checksum of a length, byte {at}")
        if struct.unpack_from("<I", data, at + 12 + length)[0] != masked(body):
            raise ValueError(f"checksum of a record, byte {at}")
        yield body
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data):
    """(number, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, value


def read_scalars(folder):
    """tag -> {step: value} of all files in the order of their names; a start takes back later steps of those before."""
    tags = {}
    for path in sorted(pathlib.Path(folder).glob("events.out.tfevents.*")):
        for number, record in enumerate(records(path.read_bytes())):
            event = dict(fields(record))
            step = event.get(2, 0)
            if number == 0 and event.get(3) != b"brain.Event:2":
                raise ValueError(f"{path}: no version")
            if 7 in event:
                for steps in tags.values():
                    for later in [s for s in steps if s >= step]:
                        del steps[later]
            for _, value in fields(event.get(5, b"")):
                parts = dict(fields(value))
                tags.setdefault(parts[1].decode(), {})[step] = parts[2]
    return {tag: steps for tag, steps in tags.items() if steps}

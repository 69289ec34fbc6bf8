"""A checkpoint with other numbers in it, as if a run had come to them: digests are made anew."""
import hashlib
import pathlib
import struct

from checkpoint_tensors import read_safetensors
from event_reader import crc32c, fields


def replaced_once(data, old, new):
    assert len(old) == len(new)
    assert data.count(old) == 1, (data.count(old), old)
    return data.replace(old, new)


def edit_checkpoint(step_folder, change):
    """change(name, [fp32 numbers]) -> the new numbers, or None to leave a tensor as it is. Every digest has the size
    that it had, so the manifest stays what it is around them. Returns the names of the changed tensors."""
    step_folder = pathlib.Path(step_folder)
    manifest_path = step_folder / "manifest.pb"
    manifest = manifest_path.read_bytes()
    changed = []
    for path in sorted(step_folder.glob("*.safetensors")):
        file = path.read_bytes()
        edited = file
        for name, (dtype, _, data) in read_safetensors(path)[0].items():
            numbers = list(struct.unpack(f"<{len(data) // 4}f", data)) if dtype == "F32" else None
            wanted = change(name, list(numbers)) if numbers else None
            if wanted is None:
                continue
            new = struct.pack(f"<{len(wanted)}f", *wanted)
            at = edited.index(data)
            assert edited.count(data) == 1, f"{name}: its bytes occur twice"
            edited = edited[:at] + new + edited[at + len(data):]
            manifest = replaced_once(manifest, b"\x3d" + struct.pack("<I", crc32c(data)),
                                     b"\x3d" + struct.pack("<I", crc32c(new)))
            changed.append(name)
        if edited != file:
            path.write_bytes(edited)
            manifest = replaced_once(manifest, hashlib.sha256(file).hexdigest().encode(),
                                     hashlib.sha256(edited).hexdigest().encode())
    # ManifestFile: the manifest, then its digest.
    body = dict(fields(manifest))[1]
    manifest_path.write_bytes(manifest[:-64] + hashlib.sha256(body).hexdigest().encode())
    return changed


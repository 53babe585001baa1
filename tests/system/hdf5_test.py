"""Other HDF5 programs read a rank's file, without a plugin: h5dump where it is installed, and h5py where the Python in
HONE_TEST_PYTHON has it (scripts/requirements-test.txt)."""

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import unittest
from pathlib import Path

from harness import PATIENCE_S, SystemTest, write_lines
from hostile_test import CheckpointTest, RankFile

NO_PLUGINS = {"HDF5_PLUGIN_PRELOAD": "::"}

# Bytes of an element, and what numpy calls what h5py reads. bfloat16 comes as its bits.
DTYPES = {
    "uint8": (1, "|u1"),
    "int64": (8, "<i8"),
    "float32": (4, "<f4"),
    "float64": (8, "<f8"),
    "float16": (2, "<f2"),
    "bfloat16": (2, "<u2"),
}

# Tells of each data set in the files what it is, and the SHA-256 of its values' bytes.
TELL = """
import hashlib, json, sys
import h5py

def tell(file):
    found = {}
    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            kept = (item.chunks, item.compression, item.external, item.is_virtual)
            is_plain = kept == (None, None, None, False) and item.maxshape == item.shape
            digest = hashlib.sha256(item[()].tobytes()).hexdigest()
            attributes = {key: value.decode() for key, value in item.attrs.items()}
            found["/" + name] = [item.dtype.str, item.shape, digest, attributes, is_plain]
    file.visititems(visit)
    return found

told = []
for name in sys.argv[1:]:
    with h5py.File(name, "r") as file:
        told.append(tell(file))
json.dump(told, sys.stdout)
"""


def data_set_of(tensor: dict) -> tuple[str, list[int]]:
    """Its path and shape, as FORMAT.md says."""
    size, _ = DTYPES[tensor["dtype"]]
    if tensor["bytes"] == size * math.prod(tensor["shape"]):
        return f"/tensors/{tensor['name']}", tensor["shape"]
    return f"/tensors/{tensor['name']}/from-{tensor['first']}", [tensor["bytes"] // size]


def rank_files(checkpoint: Path) -> dict[Path, list[tuple[dict, bytes]]]:
    """Of each file the manifest's tensors, and the bytes where it says that they are."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    files = {}
    for entry in manifest["rank_files"]:
        file = checkpoint / entry["file"]
        data = file.read_bytes()
        tensors = [tensor for tensor in manifest["tensors"] if tensor["file"] == file.name]
        files[file] = [(tensor, data[tensor["offset"] :][: tensor["bytes"]]) for tensor in tensors]
    return files


class ReadersTest(SystemTest):
    def h5dump(self, file: Path, *arguments: object) -> str:
        if shutil.which("h5dump") is None:
            self.skipTest("h5dump is not installed (hdf5-tools)")
        command = ["h5dump", *map(str, arguments), str(file)]
        environment = os.environ | NO_PLUGINS
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(said.returncode, 0, f"{command}\n{said.stdout}{said.stderr}")
        return said.stdout

    def assert_h5dump_reads(self, checkpoint: Path) -> None:
        for file, tensors in rank_files(checkpoint).items():
            paths = [data_set_of(tensor)[0] for tensor, _ in tensors]
            listed = [line.split() for line in self.h5dump(file, "-n").splitlines()]
            self.assertEqual(sorted(words[1] for words in listed if words[0] == "dataset"), sorted(paths))
            self.assertLessEqual({words[0] for words in listed}, {"HDF5", "FILE_CONTENTS", "dataset", "group", "}"})
            told = self.h5dump(file, "-H", "-p", "-B")
            self.assertIn("SUPERBLOCK_VERSION 3", told)
            self.assertEqual(told.count("CONTIGUOUS"), len(paths))
            self.assertNotIn("EXTERNAL", told)
            out = self.folder / "dumped"
            for path, (tensor, data) in zip(paths, tensors, strict=True):
                out.unlink(missing_ok=True)
                self.h5dump(file, "-d", path, "-b", "FILE", "-o", out)
                self.assertEqual(out.read_bytes(), data, path)

    def h5py(self, files: list[Path]) -> list[dict]:
        python = os.environ.get("HONE_TEST_PYTHON")
        if not python or shutil.which(python) is None:
            self.skipTest("HONE_TEST_PYTHON names no Python")
        environment = os.environ | NO_PLUGINS
        flags = {"env": environment, "capture_output": True, "text": True, "timeout": PATIENCE_S}
        if subprocess.run([python, "-c", "import h5py"], **flags).returncode != 0:
            self.skipTest(f"{python} has no h5py (scripts/requirements-test.txt)")
        said = subprocess.run([python, "-c", TELL, *map(str, files)], **flags)
        self.assertEqual(said.returncode, 0, said.stderr)
        return json.loads(said.stdout)

    def assert_h5py_reads(self, checkpoint: Path) -> None:
        files = rank_files(checkpoint)
        for (file, tensors), told in zip(files.items(), self.h5py(list(files)), strict=True):
            expected = {}
            for tensor, data in tensors:
                path, shape = data_set_of(tensor)
                kind = DTYPES[tensor["dtype"]][1]
                expected[path] = [kind, shape, hashlib.sha256(data).hexdigest(), {"dtype": tensor["dtype"]}, True]
            self.assertEqual(told, expected, file)


class Runs(ReadersTest):
    """What runs leave behind, in whole tensors and in pieces. What computes in bfloat16 keeps float32 as well."""

    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": "say: one"}, {"text": "say: two"}])
        self.checkpoints = []
        for name, more in (("whole", ()), ("pieces", ("--optimizer_sharding", "zero1", "--bf16"))):
            self.hone(
                *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", name),
                *("--max_steps", 1, "--save_steps", 1, *more),
                ranks=2,
            )
            checkpoint = self.folder / name / "checkpoint-1"
            paths = [data_set_of(tensor)[0] for tensors in rank_files(checkpoint).values() for tensor, _ in tensors]
            self.assertEqual(any("/from-" in path for path in paths), name == "pieces")
            self.checkpoints.append(checkpoint)

    def test_h5dump(self) -> None:
        for checkpoint in self.checkpoints:
            self.assert_h5dump_reads(checkpoint)

    def test_h5py(self) -> None:
        for checkpoint in self.checkpoints:
            self.assert_h5py_reads(checkpoint)


class Types(ReadersTest, CheckpointTest):
    """A checkpoint with tensors of all types. No run writes most of them: they are written over a run's, and hone
    inspect compares with what hone itself would have written."""

    # HDF5's data type messages.
    MESSAGES = {
        "uint8": struct.pack("<4BIHH", 0x10, 0, 0, 0, 1, 0, 8),
        "int64": struct.pack("<4BIHH", 0x10, 8, 0, 0, 8, 0, 64),
        "float64": struct.pack("<4BIHH4BI", 0x11, 0x20, 63, 0, 8, 0, 64, 52, 11, 0, 52, 1023),
        "float16": struct.pack("<4BIHH4BI", 0x11, 0x20, 15, 0, 2, 0, 16, 10, 5, 0, 10, 15),
        "bfloat16": struct.pack("<4BIHH", 0x10, 0, 0, 0, 2, 0, 16),
    }

    def setUp(self) -> None:
        super().setUp()
        file = RankFile(self.rank_file.read_bytes())
        vectors = [tensor for tensor in self.manifest["tensors"] if len(tensor["shape"]) == 1]
        for tensor, (dtype, message) in zip(vectors, self.MESSAGES.items()):
            self.become(file, tensor, dtype, message)
        self.write_rank_file(bytes(file.data))
        self.types = {tensor["dtype"] for tensor in self.manifest["tensors"]}

    def become(self, file: RankFile, tensor: dict, dtype: str, message: bytes) -> None:
        """The same bytes, of another type."""
        size, _ = DTYPES[dtype]
        count = tensor["bytes"] // size
        header = file.data_set(tensor["offset"])
        file.change(header, RankFile.TYPE, lambda _: message)
        file.change(header, RankFile.SPACE, lambda _: struct.pack("<4BQQ", 2, 1, 1, 1, count, count))
        seven, length = (struct.pack("<I", len(name)) for name in ("float32", dtype))
        renamed = lambda body: body.replace(seven, length).replace(b"float32", dtype.encode())  # the attribute's text
        file.change(header, RankFile.ATTRIBUTE, renamed)
        tensor |= {"dtype": dtype, "shape": [count]}

    def test_they_are_as_hone_lays_them_out(self) -> None:
        self.assertEqual(self.types, set(DTYPES))
        shown = json.loads(self.hone("inspect", self.checkpoint, "--json").out)
        self.assertTrue(shown["verified"], shown["problem"])
        self.assertTrue(shown["structure_as_laid_out"])

    def test_h5dump(self) -> None:
        self.assert_h5dump_reads(self.checkpoint)

    def test_h5py(self) -> None:
        self.assert_h5py_reads(self.checkpoint)


if __name__ == "__main__":
    unittest.main()

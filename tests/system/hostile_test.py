"""Files that somebody made to do harm: each is refused with a word, soon, in little memory, and never by a signal."""

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import time
from pathlib import Path

from harness import PATIENCE_S, SystemTest, write_lines

INVALID_DATA = 65
SECONDS = 10.0 * PATIENCE_S / 60.0
MEGABYTES = 256


def sealed(manifest: str) -> str:
    """With a digest that fits: who can write the files can write it, too."""
    body = manifest.rstrip().removesuffix("}").rstrip()
    return f'{body},\n"manifest_sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


class HostileTest(SystemTest):
    def refuse(self, what: str, *arguments: object, codes: tuple[int, ...] = (INVALID_DATA,)) -> str:
        """By one process, whose own peak the kernel tells."""
        start = time.monotonic()
        command = [os.environ["HONE_PROGRAM"], *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))}
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **limits
        ) as process:
            output = process.stdout.read().decode(errors="replace")
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        said = f"{what}: exit code {process.returncode}\n{output[-3000:]}"
        self.assertIn(process.returncode, codes, said)
        self.assertLess(time.monotonic() - start, SECONDS, said)
        if "HONE_TEST_TIME_FACTOR" not in os.environ:  # sanitizers need more
            self.assertLess(usage.ru_maxrss / 1024, MEGABYTES, said)
        return output


class Checkpoint(HostileTest):
    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": "say: one"}, {"text": "say: two"}])
        self.hone(
            *("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out"),
            *("--max_steps", 1, "--save_steps", 1),
            ranks=1,
        )
        self.checkpoint = self.folder / "out/checkpoint-1"
        self.manifest = json.loads((self.checkpoint / "manifest.json").read_text())
        del self.manifest["manifest_sha256"]
        self.rank_file = self.checkpoint / self.manifest["rank_files"][0]["file"]
        self.sound = self.folder / "sound"
        shutil.copytree(self.checkpoint, self.sound)

    def restore(self) -> None:
        shutil.rmtree(self.checkpoint)
        shutil.copytree(self.sound, self.checkpoint)

    def refuse_manifest(self, what: str, text: str) -> None:
        (self.checkpoint / "manifest.json").write_text(text)
        self.refuse(what, "checkpoint", "verify", "out")
        self.refuse(what, "export", "out/checkpoint-1", "--output_dir", "exported")
        self.assertFalse((self.folder / "exported/model.safetensors").exists(), what)
        self.restore()

    def changed(self, **changes: object) -> str:
        return sealed(json.dumps(self.manifest | changes))

    def with_tensor(self, **changes: object) -> str:
        first, *rest = self.manifest["tensors"]
        return self.changed(tensors=[first | changes, *rest])

    def test_manifests(self) -> None:
        huge = 2**63 - 1
        other = {"bytes": 1, "digest": "xxh128:" + 32 * "0"}
        cases = {
            "no ranks": self.changed(world_size=0),
            "a hundred thousand ranks": self.changed(world_size=99_999),
            "a shape whose product overflows": self.with_tensor(shape=[2**40, 2**40]),
            "a negative shape": self.with_tensor(shape=[-1, 4]),
            "a size beyond 64 bits": self.with_tensor(shape=[2**70]),
            "an offset near the end of numbers": self.with_tensor(offset=huge),
            "bytes near the end of numbers": self.with_tensor(bytes=huge, shape=[huge // 4]),
            "a tensor over another": self.with_tensor(offset=self.manifest["tensors"][1]["offset"]),
            "a name that climbs": self.with_tensor(name="model/../../x"),
            "a file that climbs": self.changed(other_files=[other | {"file": "../../../etc/passwd"}]),
            "a file elsewhere": self.changed(other_files=[other | {"file": "/etc/passwd"}]),
            "a rank's file elsewhere": self.changed(rank_files=[self.manifest["rank_files"][0] | {"file": "/dev/zero"}]),
            "numbers that are none": self.with_tensor(bytes=1e300),
            "a state that is no text": self.changed(state=7),
            "a key twice": sealed(json.dumps(self.manifest)[:-1] + ', "step": 1}'),
            "deep nesting": sealed('{"format": ' + 1_000_000 * "[" + 1_000_000 * "]" + "}"),
            "as many entries as there is room for": sealed('{"format": [' + 3_000_000 * "1," + "1]}"),
            "more than anybody reads": sealed('{"format": "' + 17_000_000 * "x" + '"}'),
            "not JSON": sealed('{"format": nonsense'),
        }
        for what, text in cases.items():
            with self.subTest(what):
                self.refuse_manifest(what, text)

    def between_tensors(self, data: bytes) -> bytes:
        """The HDF5 structure of the rank's file: all that is not a tensor's."""
        structure, end = b"", 0
        for tensor in sorted(self.manifest["tensors"], key=lambda tensor: tensor["offset"]):
            structure += data[end : tensor["offset"]]
            end = tensor["offset"] + tensor["bytes"]
        return structure + data[end:]

    def test_a_structure_that_is_not_what_the_manifest_says(self) -> None:
        """With digests that fit: hone does not read it, and says to those who would."""
        sound = self.rank_file.read_bytes()
        (entry,) = self.manifest["rank_files"]
        structure = self.between_tensors(sound)
        for place in (structure.index(b"\x89HDF"), structure.index(b"float32"), len(structure) - 20):
            with self.subTest(place):
                at = sound.index(structure[place : place + 20])
                data = bytearray(sound)
                data[at + 5] ^= 1
                self.rank_file.write_bytes(data)
                digest = "sha256:" + hashlib.sha256(self.between_tensors(data)).hexdigest()
                text = self.changed(rank_files=[entry | {"layout_digest": digest}])
                (self.checkpoint / "manifest.json").write_text(text)
                said = self.refuse("a changed structure", "inspect", self.checkpoint, codes=(0,))
                self.assertIn("HDF5 structure not as this hone lays it out", said)
                self.restore()
        self.assertIn("as hone lays it out", self.refuse("sound", "inspect", self.checkpoint, codes=(0,)))

    def test_more_folders_than_anybody_has(self) -> None:
        """In HDF5 each would be a group that inspect lays out."""
        empty = "sha256:" + hashlib.sha256(b"").hexdigest()
        file = self.rank_file.name
        nothing = {"dtype": "float32", "shape": [0], "file": file, "offset": 0, "bytes": 0, "digest": empty}
        deep = [nothing | {"name": f"{number}/{100 * 'a/'}w"} for number in range(12_000)]
        (self.checkpoint / "manifest.json").write_text(self.changed(tensors=self.manifest["tensors"] + deep))
        said = self.refuse("a million groups", "inspect", self.checkpoint, codes=(0,))
        self.assertIn("HDF5 structure not as this hone lays it out", said)
        self.restore()

    def test_files_that_are_something_else(self) -> None:
        def link() -> None:
            self.rank_file.symlink_to("/etc/passwd")

        def pipe() -> None:
            os.mkfifo(self.rank_file)

        def hole() -> None:  # of the length that the manifest says
            with self.rank_file.open("wb") as file:
                file.truncate(self.manifest["rank_files"][0]["bytes"])

        def terabyte() -> None:
            with self.rank_file.open("wb") as file:
                file.truncate(1 << 40)

        def external() -> None:
            """An HDF5 whose data are in another file: its structure is never read, and is not what was written."""
            data = bytearray((self.sound / self.rank_file.name).read_bytes())
            data[8:12] = b"/etc"
            self.rank_file.write_bytes(data)

        for make in (link, pipe, hole, terabyte, external):
            with self.subTest(make.__name__):
                self.rank_file.unlink()
                make()
                self.refuse(make.__name__, "checkpoint", "verify", "out")
                self.rank_file.unlink()
                self.restore()


class Model(HostileTest):
    def test_safetensors(self) -> None:
        write_lines(self.folder / "prompts.jsonl", [{"prompt": "say"}])

        def file_of(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
            text = header if isinstance(header, bytes) else json.dumps(header).encode()
            return struct.pack("<Q", len(text) if length is None else length) + text + data

        def tensor(shape: list, offsets: list, dtype: str = "F32") -> dict:
            return {"dtype": dtype, "shape": shape, "data_offsets": offsets}

        cases = {
            "nothing": b"",
            "a header of 2^63 bytes": file_of(b"{}", length=2**63),
            "a header of a gigabyte": file_of(b"{}", length=1 << 30),
            "a header over the end": file_of(b"{}", length=100),
            "offsets that overlap": file_of({"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}, bytes(12)),
            "a hole": file_of({"a": tensor([2], [0, 8]), "b": tensor([2], [12, 20])}, bytes(20)),
            "offsets backwards": file_of({"a": tensor([2], [8, 0])}, bytes(8)),
            "a shape whose product overflows": file_of({"a": tensor([2**40, 2**40], [0, 8])}, bytes(8)),
            "an end near the end of numbers": file_of({"a": tensor([2], [0, 2**64 - 1])}, bytes(8)),
            "a negative size": file_of({"a": tensor([-2], [0, 8])}, bytes(8)),
            "a type that is none": file_of({"a": tensor([2], [0, 8], "X9")}, bytes(8)),
            "deep nesting": file_of(100_000 * b'{"a":' + b"1" + 100_000 * b"}"),
            "not text": file_of(b'{"\xff\xfe": 1}'),
        }
        for what, data in cases.items():
            with self.subTest(what):
                (self.folder / "tiny/model.safetensors").write_bytes(data)
                flags = ("--model_name_or_path", "tiny", "--prompts_file", "prompts.jsonl")
                self.refuse(what, "generate", *flags, "--output_file", "completions.jsonl")


class Rows(HostileTest):
    def test_json_lines(self) -> None:
        cases = {
            "deep nesting": b'{"text": ' + 1_000_000 * b"[" + b"\n",
            "a line without an end": b'{"text": "' + 80_000_000 * b"x",
            "zeros": 1_000_000 * b"\0",
            "not UTF-8": b'{"text": "\xff\xfe"}\n',
            "a surrogate alone": b'{"text": "\\ud800"}\n',
            "numbers out of range": b'{"input_ids": [1e400, 99999999999999999999]}\n',
            "a negative id": b'{"input_ids": [-5]}\n',
            "a million keys": b"{" + b",".join(b'"k%d":1' % i for i in range(1_000_000)) + b"}\n",
            "a key twice": b'{"text": "a", "text": "b"}\n',
        }
        for what, data in cases.items():
            with self.subTest(what):
                (self.folder / "rows.jsonl").write_bytes(data)
                flags = ("--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")
                self.refuse(what, "train", *flags)

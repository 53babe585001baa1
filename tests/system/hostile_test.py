"""Files that somebody made to do harm: each is refused with a word, soon, in little memory, and never by a signal."""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import INVALID_DATA, PATIENCE_S, SystemTest, read_metrics, write_lines

SECONDS = 10.0 * PATIENCE_S / 60.0
MEGABYTES = 256
SANITIZED = "HONE_TEST_TIME_FACTOR" in os.environ  # needs more time and memory
DEEP = 1_000_000 * "[" + 1_000_000 * "]"
TRAIN = ("train", "--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")


def sealed(manifest: str) -> str:
    """With a digest that fits: who can write the files can write it, too."""
    body = manifest.rstrip().removesuffix("}").rstrip()
    return f'{body},\n"manifest_sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def digest_of(data: bytes) -> str:
    """As a manifest has it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def with_deep(text: str, key: str = "unheard_of") -> str:
    """A JSON object with such a value, which no recursion survives."""
    return json.dumps(json.loads(text) | {key: "here"}).replace('"here"', DEEP)


def safetensors(file: Path) -> dict[str, bytes]:
    data = file.read_bytes()
    begin = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    places = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: data[begin + first : begin + end] for name, (first, end) in places.items()}


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, the checksum of HDF5's metadata."""
    mask = (1 << 32) - 1

    def turn(value: int, bits: int) -> int:
        return value << bits & mask | value >> (32 - bits)

    blocks = [struct.unpack("<III", data[at : at + 12].ljust(12, b"\0")) for at in range(0, len(data), 12)]
    a = b = c = (0xDEADBEEF + len(data)) & mask
    for at, (x, y, z) in enumerate(blocks):
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        if at + 1 == len(blocks):
            break
        for bits in (4, 6, 8, 16, 19, 4):
            a = (a - c) & mask ^ turn(c, bits)
            c = (c + b) & mask
            a, b, c = b, c, a
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - turn(b, bits)) & mask
        a, b, c = b, c, a
    return b


class RankFile:
    """The bytes of a rank's file, whose object headers can be written anew, with checksums that fit: HDF5 File Format
    Specification 3.0, IV.A.1.b, version 2. The file's length stays, as HDF5 leaves room in each header."""

    SPACE, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 0x1, 0x3, 0x6, 0x7, 0x8, 0xB, 0xC

    def __init__(self, data: bytes):
        self.data = bytearray(data)

    def _messages_of(self, header: int) -> tuple[int, int]:
        """Where they begin and end. None of ours has times or a creation order, which would be in between."""
        assert self.data.startswith(b"OHDR\x02", header) and self.data[header + 5] < 4, header
        begin = header + 6 + (1 << self.data[header + 5])
        return begin, begin + int.from_bytes(self.data[header + 6 : begin], "little")

    def read(self, header: int) -> list[tuple[int, int, bytes]]:
        """Kind, flags and content of each message, but for the empty one that fills the header."""
        at, end = self._messages_of(header)
        messages = []
        while at + 4 <= end:
            kind, size, flags = struct.unpack_from("<BHB", self.data, at)
            messages.append((kind, flags, bytes(self.data[at + 4 : at + 4 + size])))
            at += 4 + size
        return [message for message in messages if message[0] != 0]

    def write(self, header: int, messages: list[tuple[int, int, bytes]]) -> None:
        begin, end = self._messages_of(header)
        text = b"".join(struct.pack("<BHB", kind, len(body), flags) + body for kind, flags, body in messages)
        room = end - begin - len(text)
        assert room >= 0, "no room in the header"
        if room >= 4:
            text += struct.pack("<BHB", 0, room - 4, 0)
        self.data[begin:end] = text.ljust(end - begin, b"\0")
        struct.pack_into("<I", self.data, end, lookup3(bytes(self.data[header:end])))

    def change(self, header: int, kind: int, change: Callable[[bytes], bytes]) -> None:
        """Each message of the kind."""
        self.write(header, [(k, flags, change(body) if k == kind else body) for k, flags, body in self.read(header)])

    def add(self, header: int, kind: int, body: bytes) -> None:
        self.write(header, [*self.read(header), (kind, 0, body)])

    def root(self) -> int:
        return struct.unpack_from("<Q", self.data, 36)[0]

    def tensors(self) -> int:
        """The group of that name, the root's only link."""
        ((_, _, link),) = [message for message in self.read(self.root()) if message[0] == self.LINK]
        return struct.unpack("<Q", link[-8:])[0]

    def data_set(self, offset: int) -> int:
        """The one whose bytes begin there: a contiguous layout says so in its header."""
        layout = struct.pack("<BHBBBQ", self.LAYOUT, 18, 1, 4, 1, offset)
        return self.data.rindex(b"OHDR", 0, bytes(self.data).index(layout))


class HostileTest(SystemTest):
    def refuse(self, what: str, *arguments: object, codes: tuple[int, ...] = (INVALID_DATA,)) -> str:
        """By one process, whose own peak the kernel tells; killed where it hangs, as on a pipe that nobody writes."""
        start = time.monotonic()
        command = [os.environ["HONE_PROGRAM"], *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))}
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **limits
        ) as process:
            watchdog = threading.Timer(2 * SECONDS, os.kill, (process.pid, signal.SIGKILL))
            watchdog.start()
            output = process.stdout.read().decode(errors="replace")
            watchdog.cancel()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        said = f"{what}: exit code {process.returncode}\n{output[-3000:]}"
        self.assertIn(process.returncode, codes, said)
        self.assertLess(time.monotonic() - start, SECONDS, said)
        if not SANITIZED:
            self.assertLess(usage.ru_maxrss / 1024, MEGABYTES, said)
        return output


class CheckpointTest(HostileTest):
    """A checkpoint of one rank, and what its files would be with digests that fit."""

    def setUp(self) -> None:
        super().setUp()
        write_lines(self.folder / "rows.jsonl", [{"text": "say: one"}, {"text": "say: two"}])
        self.hone(*TRAIN, "--max_steps", 1, "--save_steps", 1, ranks=1)
        self.run_folder = self.folder / "out"
        self.checkpoint = self.run_folder / "checkpoint-1"
        self.manifest = json.loads((self.checkpoint / "manifest.json").read_text())
        del self.manifest["manifest_sha256"]
        self.rank_file = self.checkpoint / self.manifest["rank_files"][0]["file"]
        self.sound = self.folder / "sound"
        shutil.copytree(self.run_folder, self.sound)

    def restore(self) -> None:
        shutil.rmtree(self.run_folder)
        shutil.copytree(self.sound, self.run_folder)

    def resume(self, codes: tuple[int, ...] = (0,)) -> None:
        job = self.start(*TRAIN, "--max_steps", 2, "--save_steps", 1, "--resume_from_checkpoint", "auto", ranks=None)
        ended = job.wait()
        self.assertIn(ended.code, codes, str(ended))

    def changed(self, **changes: object) -> str:
        return sealed(json.dumps(self.manifest | changes))

    def with_tensor(self, **changes: object) -> str:
        first, *rest = self.manifest["tensors"]
        return self.changed(tensors=[first | changes, *rest])

    def with_tensors(self, count: int, before: str = "", **changes: object) -> str:
        """So many, of names of their own, in as few bytes as can be."""
        entry = json.dumps(self.manifest["tensors"][0] | {"name": "here", "offset": 0} | changes, separators=(",", ":"))
        tensors = ",".join(entry.replace("here", f"{number:x}") for number in range(count))
        text = json.dumps(self.manifest | {"tensors": "here"})
        return sealed(text.replace('"here"', f"[{before}{tensors}]"))

    def write_manifest(self, text: str) -> None:
        (self.checkpoint / "manifest.json").write_text(text)

    def write_other_file(self, name: str, text: str) -> None:
        """In place of one that the manifest lists."""
        data = text.encode()
        (self.checkpoint / name).write_bytes(data)
        of_it = {"bytes": len(data), "digest": digest_of(data)}
        entries = self.manifest["other_files"]
        self.write_manifest(self.changed(other_files=[e | of_it if e["file"] == name else e for e in entries]))

    def between_tensors(self, data: bytes) -> bytes:
        """The HDF5 structure of the rank's file: all that is not a tensor's."""
        structure, end = b"", 0
        for tensor in sorted(self.manifest["tensors"], key=lambda tensor: tensor["offset"]):
            structure += data[end : tensor["offset"]]
            end = tensor["offset"] + tensor["bytes"]
        return structure + data[end:]

    def write_rank_file(self, data: bytes) -> None:
        self.rank_file.write_bytes(data)
        (entry,) = self.manifest["rank_files"]
        entry = entry | {"bytes": len(data), "layout_digest": digest_of(self.between_tensors(data))}
        tensors = [tensor | {"digest": digest_of(self.bytes_of(tensor, data))} for tensor in self.manifest["tensors"]]
        self.write_manifest(self.changed(rank_files=[entry], tensors=tensors))

    @staticmethod
    def bytes_of(tensor: dict, data: bytes) -> bytes:
        return data[tensor["offset"] : tensor["offset"] + tensor["bytes"]]

    def refuse_manifest(self, what: str, text: str) -> None:
        shutil.rmtree(self.folder / "exported", ignore_errors=True)  # of a case that failed
        self.write_manifest(text)
        self.refuse(what, "checkpoint", "verify", "out")
        self.refuse(what, "export", "out/checkpoint-1", "--output_dir", "exported")
        self.assertFalse((self.folder / "exported/model.safetensors").exists(), what)
        self.restore()


class Checkpoint(CheckpointTest):
    def test_manifests(self) -> None:
        huge = 2**63 - 1
        other = {"bytes": 1, "digest": "xxh128:" + 32 * "0"}
        cases = {  # made one by one: a process that is started from here counts as large as this one
            "no ranks": lambda: self.changed(world_size=0),
            "a hundred thousand ranks": lambda: self.changed(world_size=99_999),
            "a shape whose product overflows": lambda: self.with_tensor(shape=[2**40, 2**40]),
            "a negative shape": lambda: self.with_tensor(shape=[-1, 4]),
            "a size beyond 64 bits": lambda: self.with_tensor(shape=[2**70]),
            "an offset near the end of numbers": lambda: self.with_tensor(offset=huge),
            "bytes near the end of numbers": lambda: self.with_tensor(bytes=huge, shape=[huge // 4]),
            "a tensor over another": lambda: self.with_tensor(offset=self.manifest["tensors"][1]["offset"]),
            "a name that climbs": lambda: self.with_tensor(name="model/../../x"),
            "a file that climbs": lambda: self.changed(other_files=[other | {"file": "../../../etc/passwd"}]),
            "a file elsewhere": lambda: self.changed(other_files=[other | {"file": "/etc/passwd"}]),
            "a rank's file elsewhere": lambda: self.changed(rank_files=[self.manifest["rank_files"][0] | {"file": "/dev/zero"}]),
            "numbers that are none": lambda: self.with_tensor(bytes=1e300),
            "a state that is no text": lambda: self.changed(state=7),
            "a key twice": lambda: sealed(json.dumps(self.manifest)[:-1] + ', "step": 1}'),
            "deep nesting": lambda: sealed('{"format": ' + 1_000_000 * "[" + 1_000_000 * "]" + "}"),
            "as many values as there is room for": lambda: sealed('{"format": [' + 12_000_000 * "1," + "1]}"),
            "as many empty lists": lambda: sealed('{"format": [' + 8_000_000 * "[]," + "1]}"),
            "as many empty objects": lambda: sealed('{"format": [' + 8_000_000 * "{}," + "1]}"),
            "tensors behind numbers": lambda: self.with_tensors(99_000, 400_000 * "0,", shape=[0], bytes=0),
            "as many tensors": lambda: self.with_tensors(160_000, shape=[0], bytes=0),
            "a shape as long": lambda: self.with_tensors(1, shape=12_000_000 * [1]),
            "a state as long": lambda: self.changed(state=25_000_000 * " "),
            "tensors before the version": lambda: sealed(json.dumps(dict(reversed(self.manifest.items())))),
            "more than anybody reads": lambda: sealed('{"format": "' + 26_000_000 * "x" + '"}'),
            "not JSON": lambda: sealed('{"format": nonsense'),
            "a run's name as long as it likes": lambda: self.changed(run=5_000 * "a"),
            "more dimensions than HDF5 has": lambda: self.with_tensor(shape=[*self.manifest["tensors"][0]["shape"], *32 * [1]]),
        }
        for what, text in cases.items():
            with self.subTest(what):
                self.refuse_manifest(what, text())

    def test_a_structure_that_is_not_what_the_manifest_says(self) -> None:
        """With digests that fit: hone does not read it, and says to those who would."""
        sound = self.rank_file.read_bytes()
        structure = self.between_tensors(sound)
        for place in (structure.index(b"\x89HDF"), structure.index(b"float32"), len(structure) - 20):
            with self.subTest(place):
                at = sound.index(structure[place : place + 20])
                data = bytearray(sound)
                data[at + 5] ^= 1
                self.write_rank_file(data)
                said = self.refuse("a changed structure", "inspect", self.checkpoint, codes=(0,))
                self.assertIn("HDF5 structure not as this hone lays it out", said)
                self.restore()
        self.assertIn("as hone lays it out", self.refuse("sound", "inspect", self.checkpoint, codes=(0,)))

    def test_more_folders_than_anybody_has(self) -> None:
        """In HDF5 each would be a group that inspect lays out."""
        file, empty = self.rank_file.name, digest_of(b"")
        nothing = {"dtype": "float32", "shape": [0], "file": file, "offset": 0, "bytes": 0, "digest": empty}
        deep = [nothing | {"name": f"{number}/{100 * 'a/'}w"} for number in range(12_000)]
        self.write_manifest(self.changed(tensors=self.manifest["tensors"] + deep))
        said = self.refuse("a million groups", "inspect", self.checkpoint, codes=(0,))
        self.assertIn("HDF5 structure not as this hone lays it out", said)
        self.restore()

    def test_as_many_tensors_and_dimensions_as_are_read(self) -> None:
        """All well: most are empty. Not laid out anew to compare the structure, which takes memory."""
        empty = {"shape": 24 * [0], "offset": 0, "bytes": 0, "digest": digest_of(b"")}
        count = 33_000 if SANITIZED else 99_000
        many = [self.manifest["tensors"][0] | empty | {"name": f"{number:x}"} for number in range(count)]
        self.write_manifest(sealed(json.dumps(self.manifest | {"tensors": self.manifest["tensors"] + many}, separators=(",", ":"))))
        self.refuse("as many", "checkpoint", "verify", "out", codes=(0,))
        said = self.refuse("as many", "inspect", self.checkpoint, "--json", codes=(0,))
        self.assertIn(f'"name":"{many[-1]["name"]}"', said)
        self.restore()
        few = [entry | {"shape": [0]} for entry in many[:33_000]]
        self.write_manifest(self.changed(tensors=self.manifest["tensors"] + few))
        report = self.hone("inspect", self.checkpoint, "--json").out
        self.assertIsNone(json.loads(report)["structure_as_laid_out"])
        self.assertIn("HDF5 structure not compared", self.hone("inspect", self.checkpoint).out)
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

        def superblock() -> None:
            """That no HDF5 library takes, without a digest that fits."""
            data = bytearray((self.sound / "checkpoint-1" / self.rank_file.name).read_bytes())
            data[8:12] = b"/etc"
            self.rank_file.write_bytes(data)

        for make in (link, pipe, hole, terabyte, superblock):
            with self.subTest(make.__name__):
                self.rank_file.unlink()
                make()
                self.refuse(make.__name__, "checkpoint", "verify", "out")
                self.rank_file.unlink()
                self.restore()


class OtherFiles(CheckpointTest):
    """With lengths and digests that fit. A file that may stand there under many names is read as often."""

    def test_each_is_one_file_by_its_one_name(self) -> None:
        entries = self.manifest["other_files"]
        config = next(entry for entry in entries if entry["file"] == "config.json")
        rank = self.rank_file.read_bytes()
        whole_rank = {"file": self.rank_file.name, "bytes": len(rank), "digest": digest_of(rank)}
        below = config | {"file": "sub/config.json"}
        cases = {
            "a file twice": [*entries, config],
            "a file 50,000 times": 50_000 * [config],
            "another name of a file": [*entries, config | {"file": "./config.json"}],
            "another name of a file alone": [config | {"file": "./config.json"}],
            "a slash twice": [*entries, below, below | {"file": "sub//config.json"}],
            "a dot between": [*entries, below, below | {"file": "sub/./config.json"}],
            "a name of which the system sees half": [*entries, config | {"file": "config.json\0"}],
            "a path that climbs on its way": [*entries, config | {"file": "sub/../config.json"}],
            "a folder": [*entries, config | {"file": "sub"}],
            "a rank's file": [*entries, whole_rank],
            "another name of a rank's file": [*entries, whole_rank | {"file": f"./{self.rank_file.name}"}],
        }
        for what, listed in cases.items():
            with self.subTest(what):
                (self.checkpoint / "sub").mkdir(exist_ok=True)
                shutil.copy(self.checkpoint / "config.json", self.checkpoint / "sub")
                self.refuse_manifest(what, self.changed(other_files=listed))


class ForgeryTest(CheckpointTest):
    """Rank files that lead other programs elsewhere than the manifest says, with checksums and digests that all fit:
    nothing but the comparison with what hone lays out shows it. h5dump, where it is installed, shows that they lead."""

    OUTSIDE = b"outside"  # the name of another file
    LURE = struct.pack("<32f", *range(1000, 1032))

    def setUp(self) -> None:
        super().setUp()
        self.tensors = {tensor["name"]: tensor for tensor in self.manifest["tensors"]}
        self.weight, self.average = (self.tensors[f"{kind}/model.norm.weight"] for kind in ("model", "exp_avg"))
        self.assertEqual(self.weight["bytes"], len(self.LURE))
        self.data = self.rank_file.read_bytes()
        self.assert_written_as_read()
        begin = self.weight["offset"]
        self.with_lure = self.data[:begin] + self.LURE + self.data[begin + len(self.LURE) :]
        # For what a header has no room for: a tensor's bytes are in the file, and not in its structure.
        self.spare = self.tensors["exp_avg/model.embed_tokens.weight"]["offset"]

    def assert_written_as_read(self) -> None:
        """So what RankFile changes in a header is all that changes, checksums among it."""
        file = RankFile(self.data)
        for header in (file.root(), file.tensors(), file.data_set(self.weight["offset"])):
            file.write(header, file.read(header))
        self.assertEqual(bytes(file.data), self.data)

    # What a forgery returns is what others find for `weight`: the bytes, or what h5dump says of the data set.

    def external_storage(self, file: RankFile) -> bytes | str:
        """An external file list, with the file's name in a local heap."""
        names = (8 * b"\0" + self.OUTSIDE + b"\0").ljust(24, b"\0")
        heap = b"HEAP" + struct.pack("<4xQQQ", len(names), 1, self.spare + 32) + names
        file.data[self.spare : self.spare + len(heap)] = heap
        listed = struct.pack("<B3xHHQQQQ", 1, 1, 1, self.spare, 8, 0, len(self.LURE))
        file.add(file.data_set(self.weight["offset"]), RankFile.EXTERNAL, listed)
        self.outside = self.LURE
        return self.LURE

    def virtual_layout(self, file: RankFile) -> bytes | str:
        """A layout of class 3, with its source, a data set of another file, in a global heap."""
        everything = struct.pack("<IIII", 3, 1, 0, 0)
        source = self.OUTSIDE + b"\0/tensors/model/model.norm.weight\0"
        mapping = struct.pack("<BQ", 0, 1) + source + 2 * everything
        mapping += struct.pack("<I", lookup3(mapping))
        size = 4096  # the least that a heap has
        heap = b"GCOL" + struct.pack("<B3xQHH4xQ", 1, size, 1, 1, len(mapping)) + mapping + bytes(-len(mapping) % 8)
        heap += struct.pack("<HH4xQ", 0, 0, size - len(heap))
        file.data[self.spare : self.spare + size] = heap.ljust(size, b"\0")
        layout = struct.pack("<BBQI", 4, 3, self.spare, 1)
        file.change(file.data_set(self.weight["offset"]), RankFile.LAYOUT, lambda _: layout)
        self.outside = self.with_lure
        return self.LURE

    def external_link(self, file: RankFile) -> bytes | str:
        target = b"\0" + self.OUTSIDE + b"\0/tensors\0"
        link = b"\1\x08\x40\7tensors" + struct.pack("<H", len(target)) + target
        file.change(file.root(), RankFile.LINK, lambda _: link)
        self.outside = self.with_lure
        return self.LURE

    def soft_link(self, file: RankFile) -> bytes | str:
        """Moments for weights."""
        target = b"/tensors/exp_avg"
        link = b"\1\x08\1\5model" + struct.pack("<H", len(target)) + target
        file.change(file.tensors(), RankFile.LINK, lambda body: link if body[3:8] == b"model" else body)
        return self.bytes_of(self.average, self.data)

    def hard_link(self, file: RankFile) -> None:
        """A group that holds itself: what walks it (h5dump 1.10 does) comes to no end."""
        file.add(file.tensors(), RankFile.LINK, b"\1\0\1a" + struct.pack("<Q", file.root()))

    def filtered(self, file: RankFile, number: int, *parameters: int) -> None:
        """One chunk behind a filter, in the data set's own place."""
        header, offset = file.data_set(self.weight["offset"]), self.weight["offset"]
        name = b"\0\0" if number >= 256 else b""
        pipeline = struct.pack("<BBH", 2, 1, number) + name + struct.pack("<HH", 0, len(parameters))
        layout = struct.pack("<7B", 4, 2, 2, 2, 1, 32, 4) + struct.pack("<BQIQ", 1, self.weight["bytes"], 0, offset)
        file.change(header, RankFile.LAYOUT, lambda _: layout)
        file.add(header, RankFile.FILTERS, pipeline + struct.pack(f"<{len(parameters)}I", *parameters))

    def filter_that_unpacks(self, file: RankFile) -> bytes | str:
        """Deflate: a few bytes can be a terabyte. The weights themselves are changed, too."""
        packed = zlib.compress(self.LURE)
        self.assertLessEqual(len(packed), self.weight["bytes"])
        self.filtered(file, 1, 6)
        file.data[self.weight["offset"] : self.weight["offset"] + len(packed)] = packed
        return self.LURE

    def filter_that_is_a_plugin(self, file: RankFile) -> bytes | str:
        """For which HDF5 loads a shared library."""
        self.filtered(file, 32_000)
        return "FILTER_ID 32000"

    def filter_of_nothing(self, file: RankFile) -> bytes | str:
        """Contiguous as before."""
        file.add(file.data_set(self.weight["offset"]), RankFile.FILTERS, struct.pack("<BBHHHH", 2, 1, 32_000, 0, 0, 0))
        return self.bytes_of(self.weight, self.data)

    def other_byte_order(self, file: RankFile) -> bytes | str:
        header = file.data_set(self.weight["offset"])
        file.change(header, RankFile.TYPE, lambda body: body[:1] + bytes([body[1] | 1]) + body[2:])
        return "H5T_IEEE_F32BE"

    def other_type(self, file: RankFile) -> bytes | str:
        whole_numbers = struct.pack("<4BIHH", 0x10, 8, 0, 0, 4, 0, 32)
        file.change(file.data_set(self.weight["offset"]), RankFile.TYPE, lambda _: whole_numbers)
        return "H5T_STD_I32LE"

    def other_size(self, file: RankFile) -> bytes | str:
        """Beyond the end of the data set's bytes, of the file and of all memory."""
        space = struct.pack("<4BQQ", 2, 1, 1, 1, 1 << 60, 1 << 60)
        file.change(file.data_set(self.weight["offset"]), RankFile.SPACE, lambda _: space)
        return "( 1152921504606846976 )"

    def other_place(self, file: RankFile) -> bytes | str:
        layout = struct.pack("<BBQQ", 4, 1, self.average["offset"], self.average["bytes"])
        file.change(file.data_set(self.weight["offset"]), RankFile.LAYOUT, lambda _: layout)
        return self.bytes_of(self.average, self.data)

    @contextlib.contextmanager
    def forged(self, forge: Callable) -> Iterator[bytes]:
        """The checkpoint with such a file, whose bytes these are. h5dump looks at it first; then the other file is a
        pipe that nobody writes: whoever opens it hangs."""
        self.outside = None
        file = RankFile(self.data)
        found = forge(file)
        data = bytes(file.data)
        self.write_rank_file(data)
        self.assertEqual(len(data), len(self.data))
        # Such names are looked up in the working directory, some of them beside the file, too.
        others = [folder / self.OUTSIDE.decode() for folder in (self.folder, self.checkpoint)]
        if self.outside is not None:
            for other in others:
                other.write_bytes(self.outside)
        if found is not None and shutil.which("h5dump") is not None:
            self.assert_found(found)
        for other in others:
            other.unlink(missing_ok=True)
            os.mkfifo(other)
        try:
            yield data
        finally:
            others[0].unlink()
            self.restore()

    def assert_found(self, found: bytes | str) -> None:
        out = self.folder / "dumped"
        more = ("-H", "-p") if isinstance(found, str) else ("-b", "FILE", "-o", str(out))
        command = ["h5dump", "-d", "/tensors/model/model.norm.weight", *more, str(self.rank_file)]
        said = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        if isinstance(found, str):
            self.assertIn(found, said.stdout)
        else:
            self.assertEqual(out.read_bytes(), found)


class Forgeries(ForgeryTest):
    def test_hone_goes_by_the_manifest(self) -> None:
        """And says that others may not."""
        forgeries = (
            *(self.external_storage, self.virtual_layout, self.external_link, self.soft_link, self.hard_link),
            *(self.filter_that_unpacks, self.filter_that_is_a_plugin, self.filter_of_nothing),
            *(self.other_byte_order, self.other_type, self.other_size, self.other_place),
        )
        for forge in forgeries:
            what = forge.__name__
            with self.subTest(what), self.forged(forge) as data:
                said = self.refuse(what, "inspect", self.checkpoint, codes=(0,))
                self.assertIn("HDF5 structure not as this hone lays it out", said)
                shown = json.loads(self.refuse(what, "inspect", self.checkpoint, "--json", codes=(0,)))
                self.assertEqual((shown["structure_as_laid_out"], shown["verified"]), (False, True))
                self.refuse(what, "checkpoint", "verify", "out", codes=(0,))
                self.refuse(what, "export", "out/checkpoint-1", "--output_dir", what, codes=(0,))
                exported = safetensors(self.folder / what / "model.safetensors")
                self.assertIn("model.norm.weight", exported)
                for name, written in exported.items():
                    self.assertEqual(written, self.bytes_of(self.tensors[f"model/{name}"], data), name)


class ForgeriesResumed(ForgeryTest):
    def test_a_run_goes_by_the_manifest(self) -> None:
        """Its first loss is that of the weights, and what it saves is as it should be."""
        self.resume()
        sound = read_metrics(self.run_folder, "update")[-1]
        self.restore()
        for forge in (self.external_storage, self.virtual_layout, self.external_link, self.soft_link):
            with self.subTest(forge.__name__), self.forged(forge):
                self.resume()
                update = read_metrics(self.run_folder, "update")[-1]
                self.assertEqual((update["step"], update["loss"]), (2, sound["loss"]))
                shown = json.loads(self.hone("inspect", self.run_folder / "checkpoint-2", "--json").out)
                self.assertTrue(shown["structure_as_laid_out"])


class Nesting(CheckpointTest):
    """JSON of a million levels in a checkpoint: what copies, compares or prints it by recursion ends by a signal."""

    def states(self) -> dict[str, str]:
        state = self.manifest["state"]
        return {
            "a state": DEEP,
            "a state of keys": "{" + ",".join(f'"{key:x}":1' for key in range(400_000)) + "}",
            "a state of empty objects": "[" + 1_500_000 * "{}," + "1]",
            "a state of objects": 300_000 * '{"a":' + "1" + 300_000 * "}",
            "a key that no trainer reads": with_deep(state),
            "a key that every trainer reads": with_deep(state, "global_step"),
        }

    def test_states_that_are_shown(self) -> None:
        """Only --json reads them. A state is no part of the format, so the checkpoint may be whole all the same."""
        for what, state in self.states().items():
            with self.subTest(what):
                shutil.rmtree(self.folder / "exported", ignore_errors=True)
                self.write_manifest(self.changed(state=state))
                for arguments in (
                    *(("inspect", self.checkpoint), ("inspect", self.checkpoint, "--json")),
                    *(("inspect", "out", "--verify", "--json"), ("checkpoint", "verify", "out")),
                    ("export", self.checkpoint, "--output_dir", "exported"),
                ):
                    self.refuse(what, *arguments, codes=(0, INVALID_DATA))

    def test_states_that_are_gone_on_from(self) -> None:
        for what, state in self.states().items():
            with self.subTest(what):
                self.restore()
                self.write_manifest(self.changed(state=state))
                self.resume(codes=(0, INVALID_DATA) if "no trainer" in what else (INVALID_DATA,))

    def test_the_metrics_of_a_run_that_goes_on(self) -> None:
        """A line that is no record is passed over."""
        with (self.run_folder / "metrics.jsonl").open("a") as file:
            file.write(with_deep('{"kind": "update", "step": 2}') + "\n" + DEEP + "\n")
        self.resume()

    def test_the_configuration_in_a_checkpoint(self) -> None:
        text = with_deep((self.checkpoint / "config.json").read_text())
        self.write_other_file("config.json", text)
        self.refuse("sound", "checkpoint", "verify", "out", codes=(0,))
        said = self.refuse("config.json", "export", self.checkpoint, "--output_dir", "exported")
        self.assertIn("config.json", said)
        self.assertFalse((self.folder / "exported/model.safetensors").exists())


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


    def test_json_that_is_deep(self) -> None:
        """In each file of the folder that is JSON."""
        write_lines(self.folder / "prompts.jsonl", [{"prompt": "say"}])
        tiny = self.folder / "tiny"
        config, tokenizer = ((tiny / name).read_text() for name in ("config.json", "tokenizer.json"))
        cases = [
            ("config.json", with_deep(config)),
            ("config.json", with_deep(config, "model_type")),
            ("config.json", 100_000 * '{"a":' + "1" + 100_000 * "}"),
            ("config.json", '{"a": [' + 1_000_000 * "{}," + "1]}"),
            ("config.json", "{" + ",".join(f'"{key}": 1' for key in range(600_000)) + "}"),
            ("generation_config.json", with_deep("{}", "eos_token_id")),
            ("model.safetensors.index.json", with_deep("{}", "weight_map")),
            ("model.safetensors.index.json", with_deep('{"weight_map": {"a": "b.safetensors"}}', "metadata")),
            ("tokenizer_config.json", with_deep("{}", "eos_token")),
            *(("tokenizer.json", with_deep(tokenizer, key)) for key in ("normalizer", "decoder", "model")),
        ]
        for number, (name, text) in enumerate(cases):
            with self.subTest(name, number=number):
                model = self.folder / f"model-{number}"
                shutil.copytree(tiny, model)
                if "index" in name:
                    (model / "model.safetensors").unlink()
                (model / name).write_text(text)
                flags = ("--model_name_or_path", model.name, "--prompts_file", "prompts.jsonl")
                said = self.refuse(name, "generate", *flags, "--output_file", "completions.jsonl")
                self.assertIn(f"{model.name}/{name}", said)


class Rows(HostileTest):
    def test_json_lines(self) -> None:
        cases = {  # made one by one, as above
            "deep nesting": lambda: b'{"text": ' + 1_000_000 * b"[" + b"\n",
            "a line without an end": lambda: b'{"text": "' + 80_000_000 * b"x",
            "zeros": lambda: 1_000_000 * b"\0",
            "not UTF-8": lambda: b'{"text": "\xff\xfe"}\n',
            "a surrogate alone": lambda: b'{"text": "\\ud800"}\n',
            "numbers out of range": lambda: b'{"input_ids": [1e400, 99999999999999999999]}\n',
            "a negative id": lambda: b'{"input_ids": [-5]}\n',
            "a million keys": lambda: b"{" + b",".join(b'"k%d":1' % i for i in range(1_000_000)) + b"}\n",
            "a key twice": lambda: b'{"text": "a", "text": "b"}\n',
            "as many empty objects": lambda: b'{"text": [' + 5_000_000 * b"{}," + b"1]}\n",
            "as many empty lists": lambda: b'{"text": [' + 5_000_000 * b"[]," + b"1]}\n",
            "as many numbers": lambda: b'{"text": [' + 8_000_000 * b"1," + b"1]}\n",
        }
        for what, data in cases.items():
            with self.subTest(what):
                (self.folder / "rows.jsonl").write_bytes(data())
                flags = ("--model_name_or_path", "tiny", "--train_file", "rows.jsonl", "--output_dir", "out")
                self.refuse(what, "train", *flags)

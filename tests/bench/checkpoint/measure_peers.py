"""Times of saves and loads by Python's ways, for tests/bench/checkpoint.py. A line of JSON for each line "WAY
save" or "WAY load" on standard input; the ways that there are when it is ready."""

import json
import os
import pathlib
import shutil
import sys
import time

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp

NUM_TENSORS = 100

folder, num_bytes = pathlib.Path(sys.argv[1]), int(sys.argv[2])
state = {f"layer.{i}.weight": torch.rand(num_bytes // NUM_TENSORS // 4) for i in range(NUM_TENSORS)}


def sync(*paths: pathlib.Path) -> None:
    for path in (*paths, folder):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)


def forget_cached() -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def save_raw() -> None:
    file = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT, 0o600)
    for tensor in state.values():
        os.write(file, memoryview(tensor.numpy()).cast("B"))
    os.close(file)
    sync(folder / "raw")


def load_raw() -> None:
    with open(folder / "raw", "rb", buffering=0) as file:
        for tensor in state.values():
            view = memoryview(tensor.numpy()).cast("B")
            while view:
                view = view[file.readinto(view) :]


def save_torch() -> None:
    torch.save(state, folder / "state.pt")
    sync(folder / "state.pt")


def save_safetensors() -> None:
    safetensors.torch.save_file(state, folder / "state.safetensors")
    sync(folder / "state.safetensors")


def save_dcp() -> None:  # which syncs by itself
    dcp.save(state, checkpoint_id=folder / "dcp", no_dist=True)


def load_dcp() -> None:
    dcp.load({name: torch.empty_like(tensor) for name, tensor in state.items()}, checkpoint_id=folder / "dcp", no_dist=True)


WAYS = {
    "raw": (save_raw, load_raw),
    "torch.save": (save_torch, lambda: torch.load(folder / "state.pt")),
    "safetensors": (save_safetensors, lambda: safetensors.torch.load_file(folder / "state.safetensors")),
    "torch.distributed.checkpoint": (save_dcp, load_dcp),
}

try:
    import h5py

    def save_h5py() -> None:
        with h5py.File(folder / "state.h5", "w", libver="latest") as file:
            for name, tensor in state.items():
                file.create_dataset(name, data=tensor.numpy())
        sync(folder / "state.h5")

    def load_h5py() -> None:
        with h5py.File(folder / "state.h5") as file:
            for name in state:
                file[name][...]

    WAYS["h5py"] = (save_h5py, load_h5py)
except ImportError:
    pass

print(json.dumps(list(WAYS)), flush=True)
for line in sys.stdin:
    way, _, order = line.strip().rpartition(" ")
    save, load = WAYS[way]
    if order == "save":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.sync()
    else:
        forget_cached()
    start = time.perf_counter()
    (save if order == "save" else load)()
    print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)

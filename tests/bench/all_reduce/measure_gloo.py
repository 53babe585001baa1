"""What measure_mpi.cpp does, by torch.distributed on gloo. Started by mpirun, so that its processes are
bound as those of MPI are: measure_gloo.py BYTES REPEATS RENDEZVOUS_FILE"""
import json
import os
import sys
import time

import torch
import torch.distributed as dist


def seconds_of_slowest(values: torch.Tensor) -> float:
    values.fill_(1)
    dist.barrier()
    start = time.perf_counter()
    dist.all_reduce(values)
    seconds = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
    dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
    return seconds.item()


def main() -> None:
    num_bytes, repeats, rendezvous = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    rank = int(os.environ["OMPI_COMM_WORLD_RANK"])
    size = int(os.environ["OMPI_COMM_WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    values = torch.empty(num_bytes // 4)
    for repeat in range(repeats + 1):
        seconds = seconds_of_slowest(values)
        if not bool((values == size).all()):
            raise RuntimeError("gloo gives a wrong sum")
        if repeat > 0 and rank == 0:
            print(json.dumps({"way": "gloo, one call", "seconds": seconds}), flush=True)
    dist.destroy_process_group()


main()

"""What measure_hone.cpp does, by transformers' GPT-2 and torch's DistributedDataParallel on gloo. Started by
mpirun, so that its processes are bound as hone's are: measure_ddp.py REPEATS RENDEZVOUS_FILE"""
import json
import os
import sys
import time

import torch
import torch.distributed as dist
from transformers import GPT2Config, GPT2LMHeadModel

LENGTHS = [111, 306, 347, 172, 183, 102, 77, 78, 73, 256, 135, 152, 92, 69, 64, 81]
RANK = int(os.environ["OMPI_COMM_WORLD_RANK"])
SIZE = int(os.environ["OMPI_COMM_WORLD_SIZE"])


def share_of_rank() -> list[int]:
    """Longest first, each to the rank with the fewest tokens so far: as even as hone's."""
    loads, mine = [0] * SIZE, []
    for length in sorted(LENGTHS, reverse=True):
        rank = loads.index(min(loads))
        loads[rank] += length
        if rank == RANK:
            mine.append(length)
    return mine


def padded_batch() -> dict[str, torch.Tensor]:
    mine = share_of_rank()
    ids = torch.zeros(len(mine), max(mine), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(mine):
        ids[row, :length] = torch.randint(0, 50257, (length,))
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def main() -> None:
    repeats, rendezvous = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=RANK, world_size=SIZE)
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
    model = GPT2LMHeadModel(config).train()
    parallel = model
    if SIZE > 1:
        parallel = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    batch = padded_batch()
    for repeat in range(repeats + 1):
        dist.barrier()
        start = time.perf_counter()
        parallel(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        if repeat > 0 and RANK == 0:
            print(json.dumps({"way": f"DDP on gloo, {SIZE} ranks", "seconds": seconds.item()}), flush=True)
    dist.destroy_process_group()


main()

"""The fastest loop that we could write with transformers' model: sequences packed in one row under
a mask of blocks, torch.compile, fused AdamW, bfloat16 by autocast where the processor multiplies it.
"""

import os
import sysconfig
import warnings

import side

parser = side.step_parser(__doc__)
parser.add_argument("--gradient_checkpointing", action="store_true", help="and not compiled then")
options = parser.parse_args()

import torch
import transformers

side.prepare(options)
precision = side.use_float32_where_faster(options)
warnings.filterwarnings("ignore")


def packed(sequences: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = torch.cat(sequences)
    owner = torch.repeat_interleave(
        torch.arange(len(sequences)), torch.tensor([len(s) for s in sequences])
    )
    positions = torch.cat([torch.arange(len(s)) for s in sequences])
    place = torch.arange(len(ids))
    labels = torch.where(positions == 0, -100, ids)  # nothing in a row predicts its first token
    if len(sequences) == 1:  # a causal model needs no mask then
        return {"input_ids": ids[None], "labels": labels[None]}
    sees = (owner[:, None] == owner[None, :]) & (place[:, None] >= place[None, :])
    return {
        "input_ids": ids[None],
        "position_ids": positions[None],
        "attention_mask": sees[None, None],
        "labels": labels[None],
    }


def can_compile() -> bool:
    """Compiled code includes Python's headers."""
    if options.gradient_checkpointing:
        return False
    return os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))


config = transformers.AutoConfig.from_pretrained(options.model)
config.use_cache = False
model = transformers.AutoModelForCausalLM.from_config(config).train()
batch = packed(side.random_sequences(options.lengths, config.vocab_size))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
if options.gradient_checkpointing:
    model.gradient_checkpointing_enable({"use_reentrant": False})
forward = torch.compile(model) if can_compile() else model


def step() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
        loss = forward(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def compilation() -> str:
    if can_compile():
        return ""
    why = "blocks are computed again" if options.gradient_checkpointing else "Python's headers are missing"
    return f"not compiled: {why}"


# The C library's heap, told to keep what it has, settles in some steps.
WARM_UP = ({},) * (2 if options.gradient_checkpointing else 3)
side.serve(step, WARM_UP, note="; ".join(filter(None, [precision, compilation()])))

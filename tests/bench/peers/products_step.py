"""The matrix products of one update alone, on tokens without padding and into memory that is there:
what no step made of these products can beat. Where they are in float32 for bfloat16, so are hone's.

Each weight has three: forward, for the gradient of the input and for that of the weight. Attention
is counted for each sequence by itself, dense, forward and backward.
"""

import json
import pathlib

import side

options = side.step_options(__doc__)

import torch

side.prepare(options)
precision = side.use_float32_where_faster(options)
DTYPE = torch.bfloat16 if options.bf16 else torch.float32


class Linear:
    def __init__(self, tokens: int, inner: int, outer: int) -> None:
        self.x, self.dx = (
            torch.randn(tokens, inner).to(DTYPE),
            torch.empty(tokens, inner, dtype=DTYPE),
        )
        self.dy, self.y = (
            torch.randn(tokens, outer).to(DTYPE),
            torch.empty(tokens, outer, dtype=DTYPE),
        )
        self.w, self.dw = (
            torch.randn(outer, inner).to(DTYPE),
            torch.empty(outer, inner, dtype=DTYPE),
        )

    def __call__(self) -> None:
        torch.mm(self.x, self.w.t(), out=self.y)
        torch.mm(self.dy, self.w, out=self.dx)
        torch.mm(self.dy.t(), self.x, out=self.dw)


class Attention:
    def __init__(self, length: int, heads: int, width: int) -> None:
        self.q, self.k, self.v, self.dy = (
            torch.randn(heads, length, width).to(DTYPE) for _ in range(4)
        )
        self.weights = torch.randn(heads, length, length).to(DTYPE)
        self.narrow = torch.empty(heads, length, width, dtype=DTYPE)
        self.square = torch.empty(heads, length, length, dtype=DTYPE)

    def __call__(self) -> None:
        torch.bmm(self.q, self.k.mT, out=self.square)
        torch.bmm(self.weights, self.v, out=self.narrow)
        torch.bmm(self.dy, self.v.mT, out=self.square)
        torch.bmm(self.weights.mT, self.dy, out=self.narrow)
        torch.bmm(self.weights, self.k, out=self.narrow)
        torch.bmm(self.weights.mT, self.q, out=self.narrow)


def shapes_of(config: dict) -> tuple[int, int, int, list[tuple[int, int]]]:
    """Layers, heads, width of a head, and a layer's weights, joined as a fast step joins them."""
    if config["model_type"] == "gpt2":
        width, heads = config["n_embd"], config["n_head"]
        weights = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        return config["n_layer"], heads, width // heads, weights
    width, heads, inner = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["intermediate_size"],
    )
    keys = width // heads * config["num_key_value_heads"]
    weights = [(width, width + 2 * keys), (width, width), (width, 2 * inner), (inner, width)]
    return config["num_hidden_layers"], heads, width // heads, weights


config = json.loads((pathlib.Path(options.model) / "config.json").read_text())
layers, heads, head_width, weights = shapes_of(config)
tokens = sum(options.lengths)
of_layer = [Linear(tokens, *shape) for shape in weights]
of_layer += [Attention(length, heads, head_width) for length in options.lengths]
head = Linear(tokens, weights[0][0], config["vocab_size"])


def step() -> None:
    for _ in range(layers):
        for product in of_layer:
            product()
    head()


side.serve(step, note=precision)

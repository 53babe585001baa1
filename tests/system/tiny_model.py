"""Hugging Face folders with random models of some ten thousand parameters, from the standard library alone."""

import json
import random
import struct
from pathlib import Path

END_OF_TEXT = 256
START_OF_TURN = 257
VOCAB_SIZE = 260  # more rows than ids, as padded models have
MOST_DRAWN = 65536  # numbers of a tensor; a large one repeats them, since drawing all takes long

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": END_OF_TEXT,
    "torch_dtype": "float32",
}

GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "vocab_size": VOCAB_SIZE,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": END_OF_TEXT,
    "torch_dtype": "float32",
}

T5 = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.1,
    "tie_word_embeddings": False,
    "vocab_size": VOCAB_SIZE,
    "pad_token_id": 259,
    "eos_token_id": END_OF_TEXT,
    "decoder_start_token_id": 259,
    "torch_dtype": "float32",
}

CHAT_TEMPLATE = (
    "{% for message in messages %}<turn>{{ message['role'] }}: {{ message['content'] }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<turn>assistant: {% endif %}"
)


def _gpt2_shapes(config: dict) -> dict[str, list[int]]:
    width = config["n_embd"]
    shapes = {
        "transformer.wte.weight": [config["vocab_size"], width],
        "transformer.wpe.weight": [config["n_positions"], width],
        "transformer.ln_f.weight": [width],
        "transformer.ln_f.bias": [width],
    }
    for layer in range(config["n_layer"]):
        sizes = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
        sizes |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
        for name, (rows, columns) in sizes.items():
            shapes[f"transformer.h.{layer}.{name}.weight"] = [rows, columns]
            shapes[f"transformer.h.{layer}.{name}.bias"] = [columns]
        for name in ("ln_1", "ln_2"):
            shapes[f"transformer.h.{layer}.{name}.weight"] = shapes[f"transformer.h.{layer}.{name}.bias"] = [width]
    return shapes


def _t5_shapes(config: dict) -> dict[str, list[int]]:
    width, heads, inner = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    shapes = {"shared.weight": [config["vocab_size"], width], "lm_head.weight": [config["vocab_size"], width]}
    for stack, attentions in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        shapes[f"{stack}.final_layer_norm.weight"] = [width]
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        shapes[bias] = [config["relative_attention_num_buckets"], config["num_heads"]]
        for layer in range(config["num_layers"]):
            for place, attention in enumerate(attentions):
                prefix = f"{stack}.block.{layer}.layer.{place}."
                for part in "qkv":
                    shapes[f"{prefix}{attention}.{part}.weight"] = [heads, width]
                shapes[f"{prefix}{attention}.o.weight"] = [width, heads]
                shapes[f"{prefix}layer_norm.weight"] = [width]
            prefix = f"{stack}.block.{layer}.layer.{len(attentions)}."
            for part in ("wi_0", "wi_1"):
                shapes[f"{prefix}DenseReluDense.{part}.weight"] = [inner, width]
            shapes[f"{prefix}DenseReluDense.wo.weight"] = [width, inner]
            shapes[f"{prefix}layer_norm.weight"] = [width]
    return shapes


def _llama_shapes(config: dict) -> dict[str, list[int]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    key_value = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": [hidden],
            prefix + "self_attn.q_proj.weight": [hidden, hidden],
            prefix + "self_attn.k_proj.weight": [key_value, hidden],
            prefix + "self_attn.v_proj.weight": [key_value, hidden],
            prefix + "self_attn.o_proj.weight": [hidden, hidden],
            prefix + "post_attention_layernorm.weight": [hidden],
            prefix + "mlp.gate_proj.weight": [inner, hidden],
            prefix + "mlp.up_proj.weight": [inner, hidden],
            prefix + "mlp.down_proj.weight": [hidden, inner],
        }
    return shapes


FAMILIES = {"llama": (LLAMA, _llama_shapes), "gpt2": (GPT2, _gpt2_shapes), "t5": (T5, _t5_shapes)}


def _weights(shapes: dict[str, list[int]], seed: int) -> dict[str, tuple[list[int], list[float]]]:
    rng = random.Random(seed)
    weights = {}
    for name, shape in sorted(shapes.items()):
        if len(shape) == 1:
            values = [1.0] * shape[0]
        else:
            # Wide enough that greedy text depends on the prompt and sampled text is varied.
            count = shape[0] * shape[1]
            values = [rng.gauss(0.0, 0.15) for _ in range(min(count, MOST_DRAWN))]
            values = (values * -(-count // len(values)))[:count]
        weights[name] = (shape, values)
    return weights


def write_safetensors(file: Path, tensors: dict[str, tuple[list[int], list[float]]]) -> None:
    """Float32 tensors: the length of a JSON header, the header, the numbers."""
    header, data = {}, bytearray()
    for name, (shape, values) in tensors.items():
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(file: Path) -> dict[str, tuple[float, ...]]:
    """The numbers of every tensor of a float32 file, by name."""
    raw = file.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = struct.unpack_from(f"<{(end - begin) // 4}f", raw, 8 + length + begin)
    return tensors


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    code = {byte: byte for byte in printable} | {byte: 256 + i for i, byte in enumerate(others)}
    return [chr(code[byte]) for byte in range(256)]


def _tokenizer() -> dict:
    """Byte-level BPE without merges: each byte is a token, its number the id."""

    def special(token_id: int, content: str) -> dict:
        return {
            "id": token_id,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special(END_OF_TEXT, "<eos>"), special(START_OF_TURN, "<turn>")],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(_byte_characters())},
            "merges": [],
        },
    }


def make_model(folder: Path, seed: int = 7, family: str = "llama", changes: dict | None = None) -> Path:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json; `changes` go into the first."""
    config, shapes = FAMILIES[family]
    config = config | (changes or {})
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_safetensors(folder / "model.safetensors", _weights(shapes(config), seed))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<eos>", "chat_template": CHAT_TEMPLATE, "tokenizer_class": "PreTrainedTokenizerFast"})
    )
    return folder

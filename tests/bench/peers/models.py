"""The shapes that are measured. Weights are random: times do not depend on them."""

import json
import pathlib

# Dropout is off on all sides: without it they do the same work.
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_dropout": 0.0,
}
CONFIGS = {"GPT-2 124M": GPT2, "SmolLM2-135M": SMOLLM2}


def write(folder: pathlib.Path, name: str, num_layers: int | None = None) -> pathlib.Path:
    """A folder with the config.json of `name`; with fewer layers for those who only try."""
    config = dict(CONFIGS[name])
    if num_layers:
        config["n_layer" if config["model_type"] == "gpt2" else "num_hidden_layers"] = num_layers
    place = folder / name.replace(" ", "-")
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return place

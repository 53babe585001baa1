"""The models of the parity references: tiny random ones, and the exactly defined fixtures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedConfig,
                          PreTrainedModel, T5Config, T5ForConditionalGeneration)

VOCAB_SIZE = 300
MAX_POSITIONS = 128
LENGTHS = (120, 41, 17, 6, 64)  # of the sequences; the largest is 20 times the smallest


@dataclass
class Training:
    """AdamW on one batch: learning rate of each update, decoupled weight decay, clipping by global norm."""

    learning_rates: list[float]
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0


@dataclass
class Case:
    """One reference: a model, the samples it sees, and how its folder is written."""

    name: str
    about: str
    model: PreTrainedModel
    inputs: list[list[int]]  # sequences; of an encoder-decoder the sources
    labels: list[list[int]]  # as long as the sequences; of an encoder-decoder the targets
    prompts: list[list[int]]
    training: Training
    num_new_tokens: int
    save_options: dict = field(default_factory=dict)
    rewrite: Callable[[dict, dict], None] | None = None  # changes the file's weights and config.json


def gpt2(**changes) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(**{
        "vocab_size": VOCAB_SIZE, "n_positions": MAX_POSITIONS, "n_embd": 48, "n_layer": 3, "n_head": 4,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "attn_implementation": "eager", **changes}))


def llama(**changes) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**{
        "vocab_size": VOCAB_SIZE, "max_position_embeddings": MAX_POSITIONS, "hidden_size": 48,
        "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "tie_word_embeddings": False, "attn_implementation": "eager", **changes}))


def t5(**changes) -> T5ForConditionalGeneration:
    """Version 1.0, relu and tied; with V11 version 1.1, the one of Flan."""
    model = T5ForConditionalGeneration(T5Config(**{
        "vocab_size": VOCAB_SIZE, "d_model": 48, "d_kv": 12, "d_ff": 80, "num_layers": 3, "num_heads": 4,
        "dropout_rate": 0.0, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
        "attn_implementation": "eager", **changes}))
    if not changes.get("tie_word_embeddings", True):
        # transformers 5 ties the head of every new T5; only a file brings one of its own.
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.shared.weight))
    return model


V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def is_norm_weight(name: str) -> bool:
    return name.endswith("weight") and ("norm" in name or ".ln_" in name)


@torch.no_grad()
def fill_random(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Every parameter random and none at its neutral value, so that one left out of the sum shows."""
    for name, parameter in model.named_parameters():
        parameter.normal_(0.0, 0.12, generator=generator)
        if ".q." in name:  # T5's queries hold the factor that others give to the scores
            parameter.mul_(model.config.d_kv ** -0.5)
        if is_norm_weight(name):
            parameter.add_(1.0)


@torch.no_grad()
def fill_fixture(model: PreTrainedModel) -> None:
    """Parameter k in the order of the names, element j: 0.1 sin(0.37 j + 1.3 k) in float64; norms + 1."""
    for k, (name, parameter) in enumerate(sorted(model.named_parameters())):
        j = torch.arange(parameter.numel(), dtype=torch.float64)
        values = 0.1 * torch.sin(0.37 * j + 1.3 * k)
        if is_norm_weight(name):
            values += 1.0
        parameter.copy_(values.to(torch.float32).reshape(parameter.shape))


def draw(generator: torch.Generator, vocab_size: int, size: int) -> list[int]:
    """Tokens that are not special."""
    return torch.randint(3, vocab_size, (size,), generator=generator).tolist()


def hide_labels(sequences: list[list[int]]) -> list[list[int]]:
    """The sequences as labels: a prompt hidden, single tokens, or nothing."""
    labels = [list(sequence) for sequence in sequences]
    labels[0][:30] = [-100] * 30
    for hidden in (5, 6, 20, 40):
        labels[1][hidden] = -100
    labels[3][:3] = [-100] * 3
    return labels


def random_batch(generator: torch.Generator, config: PreTrainedConfig,
                 lengths: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and labels; an encoder-decoder's targets have these lengths, its sources their neighbours'."""
    def sequence(length: int) -> list[int]:
        if config.is_encoder_decoder:
            return [*draw(generator, config.vocab_size, length - 1), config.eos_token_id]
        return [1, *draw(generator, config.vocab_size, length - 2), 2]

    sequences = [sequence(length) for length in lengths]
    labels = hide_labels(sequences)
    if config.is_encoder_decoder:
        return [sequence(lengths[i - 1]) for i in range(len(lengths))], labels
    return sequences, labels


def random_case(name: str, about: str, model: PreTrainedModel, seed: int,
                lengths: Sequence[int] = LENGTHS, updates: int = 10, **options) -> Case:
    generator = torch.Generator().manual_seed(seed)
    fill_random(model, generator)
    if model.config.dtype == torch.bfloat16:
        model.to(torch.bfloat16).to(torch.float32)  # values that the file can hold
    inputs, labels = random_batch(generator, model.config, lengths)
    prompts = [draw(generator, model.config.vocab_size, length) for length in (1, 4, 9, 31)]
    return Case(name, about, model, inputs, labels, prompts, Training([1e-3] * updates),
                num_new_tokens=12, **options)


def without_prefix(weights: dict, config: dict) -> None:
    """The names of the oldest GPT-2 files."""
    for name in list(weights):
        weights[name.removeprefix("transformer.")] = weights.pop(name)


def as_old_t5(weights: dict, config: dict) -> None:
    """What the hub's T5 folders hold: copies of the embedding, an unused bias, and fewer settings."""
    for stack in ("encoder", "decoder"):
        weights[f"{stack}.embed_tokens.weight"] = weights["shared.weight"].clone()
    attention = "decoder.block.0.layer.{}.relative_attention_bias.weight"
    weights[attention.format("1.EncDecAttention")] = weights[attention.format("0.SelfAttention")] + 1
    for newer in ("scale_decoder_outputs", "dense_act_fn", "is_gated_act", "num_decoder_layers",
                  "relative_attention_max_distance", "tie_word_embeddings"):
        del config[newer]
    if "lm_head.weight" in weights:
        config["tie_word_embeddings"] = False
    else:
        del config["feed_forward_proj"]


def random_cases() -> list[Case]:
    return [
        random_case("gpt2", "GPT-2, tied", gpt2(), 1),
        random_case("gpt2_inverse_layer", "GPT-2, attention scaled by 1/(layer + 1)",
                    gpt2(scale_attn_by_inverse_layer_idx=True), 12),
        random_case("gpt2_hub_names", "GPT-2, weight names without the prefix transformer., n_inner 64",
                    gpt2(n_inner=64), 3, rewrite=without_prefix),
        random_case("llama", "Llama, grouped queries 6/2, untied", llama(), 4),
        random_case("llama_tied", "Llama, tied, 6 query and 6 key heads",
                    llama(tie_word_embeddings=True, num_key_value_heads=6), 5),
        random_case("llama_llama3_rope", "Llama 3 rope scaling, tied",
                    llama(tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE), 6),
        random_case("llama_biases", "Llama with attention and MLP biases and its own head_dim",
                    llama(attention_bias=True, mlp_bias=True, head_dim=16), 7),
        random_case("llama_sharded", "Llama in several safetensors files", llama(), 18,
                    save_options={"max_shard_size": "60KB"}),
        random_case("llama_bf16", "Llama stored in bfloat16, computed in float32",
                    llama(dtype="bfloat16"), 9),
        random_case("llama_pad_is_eos",
                    "Llama whose pad token is its eos token: that input embedding gets no gradient",
                    llama(pad_token_id=2), 10),
        random_case("t5_relu_tied", "T5 1.0: relu, tied and scaled", t5(), 7),
        random_case("t5_gated_untied", "T5 1.1 and Flan: gated gelu, a head of its own", t5(**V11), 2),
        random_case("t5_narrow_heads", "T5 1.1 whose heads together are narrower than the model",
                    t5(**V11, d_kv=7), 4),
        random_case("t5_shallow_decoder", "T5 1.0 with 4 and 2 layers, 10 buckets up to distance 20",
                    t5(num_layers=4, num_decoder_layers=2, relative_attention_num_buckets=10,
                       relative_attention_max_distance=20), 2),
        random_case("t5_old_files", "T5 1.0 in a folder like the hub's", t5(), 4, rewrite=as_old_t5),
        random_case("t5_v11_old_files", "T5 1.1 in a folder like the hub's", t5(**V11), 3,
                    rewrite=as_old_t5),
    ]


# Each is made with all its seeds, which also choose the lengths.
SHAPES = [
    ("gpt2_odd_heads", "GPT-2, 3 heads of 11, one layer", gpt2,
     {"vocab_size": 101, "n_embd": 33, "n_head": 3, "n_layer": 1}, (4, 5, 8)),
    ("gpt2_one_head", "GPT-2, one head, 5 layers", gpt2,
     {"vocab_size": 257, "n_embd": 20, "n_head": 1, "n_layer": 5, "n_inner": 50}, (2, 6, 8)),
    ("gpt2_untied", "GPT-2, untied, 8 heads, large epsilon", gpt2,
     {"vocab_size": 64, "n_embd": 40, "n_head": 8, "n_layer": 2, "tie_word_embeddings": False,
      "layer_norm_epsilon": 1e-2}, (3, 4, 5)),
    ("llama_odd_width", "Llama, width 33, 3 heads of 10 on one key head, one layer", llama,
     {"vocab_size": 101, "hidden_size": 33, "intermediate_size": 51, "num_hidden_layers": 1,
      "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10}, (3, 6, 8)),
    ("llama_deep", "Llama, tied, 5 layers, 16 heads of 4 on 4 key heads", llama,
     {"vocab_size": 257, "hidden_size": 64, "intermediate_size": 37, "num_hidden_layers": 5,
      "num_attention_heads": 16, "num_key_value_heads": 4, "tie_word_embeddings": True}, (1, 3, 4)),
    ("llama_small_heads", "Llama, 8 heads of 2, other theta and epsilon", llama,
     {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 8,
      "num_key_value_heads": 8, "rms_norm_eps": 1e-2,
      "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, (2, 6, 8)),
    ("t5_odd_heads", "T5 1.0, width 33, 5 heads of 9, one layer each", t5,
     {"vocab_size": 101, "d_model": 33, "d_kv": 9, "num_heads": 5, "num_layers": 1}, (3, 6, 10)),
    ("t5_deep_decoder", "T5 1.0 activation with a head of its own, 1 and 5 layers, one head", t5,
     {"vocab_size": 257, "d_model": 24, "d_kv": 10, "d_ff": 37, "num_heads": 1, "num_layers": 1,
      "num_decoder_layers": 5, "tie_word_embeddings": False}, (5, 6, 10)),
    ("t5_gated_tied", "T5 1.1 activation, tied, 5 and 1 layers, 7 buckets up to distance 9", t5,
     {"vocab_size": 64, "d_model": 40, "d_kv": 4, "num_heads": 8, "num_layers": 5,
      "num_decoder_layers": 1, "feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 7,
      "relative_attention_max_distance": 9, "layer_norm_epsilon": 1e-2}, (5, 8, 9)),
]


def random_lengths(seed: int) -> list[int]:
    """Long enough for hide_labels; the third sequence is as short as one can be."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.randint(low, high + 1, (), generator=generator))
            for low, high in ((31, 120), (41, 120), (2, 2), (4, 30), (2, 120))]


def shape_cases() -> list[Case]:
    return [random_case(f"{name}_seed{seed}", about, make(**changes), seed, random_lengths(seed), updates=5)
            for name, about, make, changes, seeds in SHAPES for seed in seeds]


FIXTURE = {"vocab_size": 37}
FIXTURE_LLAMA = {**FIXTURE, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
                 "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
S0 = [1, 5, 9, 13, 17, 21, 25, 2]
S1 = [1, 6, 11, 16, 3, 2]
S2 = [1, 4, 2]
S3 = [1, 30, 31, 32, 33, 34, 35, 36, 2]


def fixture_case(name: str, about: str, model: PreTrainedModel, sequences: list[list[int]],
                 learning_rates: list[float]) -> Case:
    fill_fixture(model)
    labels = [list(sequence) for sequence in sequences]
    return Case(name, about, model, sequences, labels, [[1, 5], [1, 5, 9, 13]],
                Training(learning_rates), num_new_tokens=4)


def fixture_t5_case(name: str, about: str, **changes) -> Case:
    model = t5(**FIXTURE, d_model=16, d_kv=4, d_ff=24, num_layers=2, relative_attention_num_buckets=8,
               relative_attention_max_distance=12, **changes)
    fill_fixture(model)
    return Case(name, about, model, [S0, S1], [[4, 8, 12, 1], [7, 1]], [S0], Training([1e-2] * 4),
                num_new_tokens=5)


def fixture_cases() -> list[Case]:
    constant, linear = [1e-2] * 4, [1e-2, 7.5e-3, 5e-3, 2.5e-3]
    rope = {**LLAMA3_ROPE, "original_max_position_embeddings": 16}
    return [
        fixture_case("fixture_gpt2", "the GPT-2 fixture",
                     gpt2(**FIXTURE, n_embd=16, n_inner=64, n_layer=2, n_head=4, n_positions=64,
                          pad_token_id=0), [S0, S1], constant),
        fixture_case("fixture_llama", "the Llama fixture", llama(**FIXTURE_LLAMA), [S0, S1], constant),
        fixture_case("fixture_llama3", "the Llama fixture, tied, with llama3 rope scaling",
                     llama(**FIXTURE_LLAMA, tie_word_embeddings=True, rope_parameters=rope),
                     [S0, S1], constant),
        fixture_case("fixture_lref", "the Llama fixture on four sequences, linear schedule to 0",
                     llama(**FIXTURE_LLAMA), [S0, S1, S2, S3], linear),
        fixture_t5_case("fixture_t5", "the T5 1.0 fixture"),
        fixture_t5_case("fixture_t5_v11", "the T5 1.1 fixture", **V11),
    ]


# What independent runs of two transformers releases gave for the fixtures: five digits each. Logits are
# those of the first sequence, or of the first target's positions.
GOLDEN = {
    "fixture_gpt2": {
        "groups": (10, 18), "logits": (1.08627, 0.94159, 0.67407), "sum_of_squares": 193.32719,
        "losses": (4.22479, 3.81211, 3.49688, 3.39019), "norms": (65.62170, 2.06222, 4.11570, 11.74863),
        "greedy": ([34, 16, 33, 33], [32, 15, 15, 15])},
    "fixture_llama": {
        "groups": (16, 5), "logits": (-0.94487, -0.77316, -0.50059), "sum_of_squares": 107.39616,
        "losses": (3.53693, 3.22855, 2.94011, 2.79161), "norms": (2.87599, 2.04352, 1.80691, 1.36455),
        "greedy": ([27, 9, 21, 13], [23, 14, 23, 14])},
    "fixture_llama3": {
        "groups": (15, 5), "logits": (1.07573, 1.13820, 1.05218), "sum_of_squares": 163.21477,
        "losses": (3.72678, 3.30385, 3.12570, 2.92769), "norms": (2.15347, 2.11085, 1.71567, 1.17201),
        "greedy": ([2], [15, 17, 1, 36])},
    "fixture_lref": {
        "groups": (16, 5), "logits": (-0.94487, -0.77316, -0.50059), "sum_of_squares": 107.39616,
        "losses": (3.81656, 3.39648, 3.19472, 3.08270), "norms": (2.63377, 1.38857, 1.31423, 0.96694),
        "greedy": ([27, 9, 21, 13], [23, 14, 23, 14]), "final_sum_of_squares": 106.9573},
    "fixture_t5": {
        "groups": (33, 14), "logits": (-0.20096, -0.25598, -0.27760), "sum_of_squares": 4.83946,
        "losses": (3.64268, 3.51064, 3.48141, 3.45177), "norms": (0.67380, 0.32527, 0.30924, 0.30549),
        "greedy": ([28, 28, 11, 11, 11],)},
    "fixture_t5_v11": {
        "groups": (38, 14), "logits": (-0.02984, 0.37516, 0.73121), "sum_of_squares": 88.90325,
        "losses": (3.54874, 3.88195, 3.46395, 3.14934), "norms": (3.56764, 16.56685, 4.69435, 1.24839),
        "greedy": ([22, 23, 6, 6, 24],)},
}


def require_close(what: str, got: float, expected: float, tolerance: float) -> None:
    if not math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance):
        raise SystemExit(f"{what}: expected {expected}, got {got}: this transformers is not the reference")

"""The models of the parity references: tiny random ones, and the exactly defined fixtures."""

import math
from dataclasses import dataclass, field

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

VOCAB_SIZE = 300
MAX_POSITIONS = 128


@dataclass
class Training:
    """AdamW on one batch: learning rate of each update, decoupled weight decay, clipping by global norm."""

    learning_rates: list[float]
    weight_decay: float = 0.1
    max_grad_norm: float = 1.0


@dataclass
class Case:
    """One reference: a model, the sequences it sees, and how its folder is written."""

    name: str
    about: str
    model: PreTrainedModel
    sequences: list[list[int]]
    labels: list[list[int]]
    prompts: list[list[int]]
    training: Training
    num_new_tokens: int
    save_options: dict = field(default_factory=dict)
    strip_prefix: str = ""  # taken off every weight name in the file, as the oldest hub files have it


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


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def is_norm_weight(name: str) -> bool:
    return name.endswith("weight") and ("norm" in name or ".ln_" in name)


@torch.no_grad()
def fill_random(model: PreTrainedModel, generator: torch.Generator) -> None:
    """Every parameter random and none at its neutral value, so that one left out of the sum shows."""
    for name, parameter in model.named_parameters():
        parameter.normal_(0.0, 0.12, generator=generator)
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


def random_batch(generator: torch.Generator) -> tuple[list[list[int]], list[list[int]]]:
    """Five sequences with lengths of 20:1; labels hide a prompt, single tokens, or nothing."""
    def draw(high: int, size: int) -> list[int]:
        return torch.randint(3, high, (size,), generator=generator).tolist()

    sequences = [[1, *draw(VOCAB_SIZE, length - 2), 2] for length in (120, 41, 17, 6, 64)]
    labels = [list(sequence) for sequence in sequences]
    labels[0][:30] = [-100] * 30
    for hidden in (5, 6, 20, 40):
        labels[1][hidden] = -100
    labels[3][:3] = [-100] * 3
    return sequences, labels


def random_prompts(generator: torch.Generator) -> list[list[int]]:
    return [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist()
            for length in (1, 4, 9, 31)]


def random_case(name: str, about: str, model: PreTrainedModel, seed: int, **options) -> Case:
    generator = torch.Generator().manual_seed(seed)
    fill_random(model, generator)
    if model.config.dtype == torch.bfloat16:
        model.to(torch.bfloat16).to(torch.float32)  # values that the file can hold
    sequences, labels = random_batch(generator)
    return Case(name, about, model, sequences, labels, random_prompts(generator),
                Training([1e-3] * 10), num_new_tokens=12, **options)


def random_cases() -> list[Case]:
    return [
        random_case("gpt2", "GPT-2, tied", gpt2(), 1),
        random_case("gpt2_inverse_layer", "GPT-2, attention scaled by 1/(layer + 1)",
                    gpt2(scale_attn_by_inverse_layer_idx=True), 12),
        random_case("gpt2_hub_names", "GPT-2, weight names without the prefix transformer., n_inner 64",
                    gpt2(n_inner=64), 3, strip_prefix="transformer."),
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
    ]


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
    ]


# What independent runs of two transformers releases gave for the fixtures: five digits each.
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
}


def require_close(what: str, got: float, expected: float, tolerance: float) -> None:
    if not math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance):
        raise SystemExit(f"{what}: expected {expected}, got {got}: this transformers is not the reference")

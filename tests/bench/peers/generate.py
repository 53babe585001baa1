"""transformers' generate(): random prompts of one length, and no end token, so that all
are finished together.
"""

import side

parser = side.parser(__doc__)
parser.add_argument("--prompt_length", type=int, required=True)
parser.add_argument("--new_tokens", type=int, required=True)
parser.add_argument(
    "--best_precision", action="store_true", help="float32 where that is faster than bfloat16"
)
options = parser.parse_args()

import torch
import transformers

side.prepare(options)
precision = side.use_float32_where_faster(options) if options.best_precision else ""
transformers.logging.set_verbosity_error()

config = transformers.AutoConfig.from_pretrained(options.model)
model = transformers.AutoModelForCausalLM.from_config(config).eval()
if options.bf16:
    model = model.to(torch.bfloat16)
model.generation_config.eos_token_id = None
model.generation_config.pad_token_id = 0
WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95},
}


def step(batch: int, way: str) -> None:
    prompts = torch.randint(10, config.vocab_size, (batch, options.prompt_length))
    with torch.inference_mode():
        done = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=options.new_tokens,
            **WAYS[way],
        )
    assert done.shape[1] == options.prompt_length + options.new_tokens


side.serve(step, ({"batch": 1, "way": "greedy"},), note=precision)

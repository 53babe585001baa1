"""TRL's IterativeSFTTrainer.step() as it comes: its defaults, which pad and shuffle the batch."""

import tempfile

import side

options = side.step_options(__doc__)

import datasets
import tokenizers
import transformers
import trl

side.prepare(options)
precision = side.use_float32_where_faster(options)
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Only its padding is used; samples come as tokens."""
    words = tokenizers.models.WordLevel({"<unk>": 0, "<eos>": 1, "<pad>": 2}, unk_token="<unk>")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words),
        unk_token="<unk>",
        eos_token="<eos>",
        pad_token="<pad>",
    )


def trainer(model: transformers.PreTrainedModel, folder: str) -> trl.IterativeSFTTrainer:
    config = trl.IterativeSFTConfig(
        output_dir=folder,
        bf16=options.bf16,  # autocast: float32 weights
        use_cpu=True,
        per_device_train_batch_size=len(options.lengths),
        max_steps=1_000_000,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    return trl.IterativeSFTTrainer(model, args=config, processing_class=tokenizer())


model = transformers.AutoModelForCausalLM.from_config(
    transformers.AutoConfig.from_pretrained(options.model)
)
sequences = side.random_sequences(options.lengths, model.config.vocab_size)
with tempfile.TemporaryDirectory() as folder:
    trained = trainer(model, folder)
    side.serve(
        lambda: trained.step(input_ids=list(sequences), labels=list(sequences)), note=precision
    )

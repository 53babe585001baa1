"""Makes small tokenizers of several kinds and records what transformers computes with them.

make_tokenizers.py OUT writes OUT/cases.json (names) and, for each name, OUT/<name>/model/ (the files
that hone loads) and OUT/<name>/expect.json. Everything is trained on the spot; nothing is downloaded.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and 12345 dogs don't mind.",
    "What is seven plus eight? It's fifteen. We've said so; they're sure, I'm not.",
    "user assistant system Cutting Knowledge Date: December 2023",
    "Größe naïve café 漢字 かな привет мир مرحبا",
    "def add(a, b):\n    return a + b\n\n\tprint(add(1, 2))  # three",
] * 4

TEXTS = [
    "",
    " ",
    "Hello world",
    "  two  spaces and a trailing one ",
    "What is 12 plus 345? It's 357 , isn't it ? They 're sure .",
    "line\nbreaks\r\n\n\tand tabs",
    "naïve café 漢字 مرحبا 🙂👩‍👩‍👧 e\u0301 \u00a0 \u200b\ufeff zero\0byte",
    "<|im_start|>user\nhi<|im_end|>\n<s> </s> [CLS] [SEP] <extra> <named>",
    "a<|im_end|>b <|im_end|> c  <strip>  d",
    "x" * 300 + " " + "ab" * 50,
]

CHATS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "  You are terse.\n"},
        {"role": "user", "content": "1 < 2 && \"quoted\" 'single' \\ back"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes & no"},
        {"role": "user", "content": "漢字 🙂 \u2028 \x7f\ttab"},
    ],
    [{"role": "assistant", "content": "I go first"}, {"role": "assistant", "content": "twice"}],
    [{"role": "tool", "content": ""}],
    [{"role": "user", "content": "they're o'neill's ÉCOLE 2nd"}] * 5,
    [{"role": "user", "content": "a "}, {"role": "assistant", "content": "b"}, {"role": "user", "content": " c"}],
]

# As SmolLM2-Instruct's: a default system prompt, then ChatML.
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# In the manner of Llama 3: dates, blocks on lines of their own, checks for tools.
LLAMA3 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%Y") %}
    {%- else %}
        {%- set date_string = "2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The system message, if there is one #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start|>ipython<|end|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""

# In the manner of Mistral and Gemma: roles must alternate.
ALTERNATING = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant, got ' ~ message.role) }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- elif message['role'] == 'assistant' -%}
    {{ message['content'] + eos_token }}
{% endif %}
{% endfor %}
"""

# In the manner of Qwen 3: namespaces, reversed loops, splitting the thoughts off.
THINKING = """{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and not message.content.startswith('<tool_response>') %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- set reasoning_content = '' %}
    {%- if message.role == "assistant" and '</think>' in content %}
        {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role }}
    {% generation %}{{ content }}{% endgeneration %}

    {%- if reasoning_content and loop.index0 < ns.last %}
        {{- '|' + reasoning_content.strip('\\n') + '|' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}
    {{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}"""

# What Python's and minijinja's idea of a value could differ in.
VALUES = """{%- macro show(name, value) -%}
  {{ name }}={{ value }};{{ value|tojson }};
{%- endmacro -%}
{% set data = {"zeta": 1, "alpha": [1.5, -2, 1e-7, 1e22, 3.0, true, none], "n<&>'": "é\\"\\\\\\n\\t\\u0007"} %}
{{ data|tojson }}
{{ data|tojson(indent=2) }}
{{ data|tojson(sort_keys=true, separators=(',', ':')) }}
{{ data|tojson(ensure_ascii=true) }}
{{ messages|tojson }}
{{ messages[0]|tojson(indent=4) }}
{{ []|tojson(indent=2) }}{{ {}|tojson(indent=2) }}
{{ show('bool', true) }}{{ show('none', none) }}{{ show('int', 7 // 2) }}{{ show('float', 7 / 2) }}
{{ missing }}|{{ missing is defined }}|{{ messages[0].nothing }}|{{ 'x' if false }}|{{ none or 'other' }}
{% for message in messages -%}
  {% if loop.index > 4 %}{% break %}{% endif %}
  {% if message.role == 'system' %}{% continue %}{% endif %}
  {{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} {{ message['role'].upper() }} {{ message.role|capitalize }}
  {{- loop.previtem.role if loop.previtem is defined }} {{ message.content|length }}
  {{ message.items()|list|length }} {{ message.get('role') }} {{ message.get('nope', 'default') }} {{ message.keys()|join(',') }}
  {{ message.content.replace('l', 'L') }} {{ message.content.strip().title() }} {{ message.content[:3] }} {{ message.content[-2:] }}
  {{ message.content.find('t') }} {{ message.content.rfind('t') }} {{ message.content.count('t') }} {{ message.content.endswith('o') }} {{ message.content.split() | join('_') }} {{ message.content.split(' ', 1)[0] }}
{% endfor %}
{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | tojson }}
{{ messages | map(attribute='role') | unique | sort | join('-') }} {{ (messages|first).role }} {{ (messages|last).role }}
{{ range(2, 10, 3)|list }} {{ [1, 'a', none, 2.0] }} {{ {'k': 'v'} }} {{ 'a' ~ 1 ~ none ~ true }} {{ "%s-%d" | format("x", 3) }}
{{ 'abc'|reverse }} {{ '  pad '|trim }}| {{ 'a,b'|replace(',', ';') }} {{ 3|string + '!' }} {{ '42'|int + 1 }} {{ [3,1,2]|sort }} {{ [1,2]|sum }}
   {% if 'user' in messages|map(attribute='role')|list %}in{% endif %} {{ 'ell' in 'Hello' }} {{ 5 is odd }} {{ 'x' is string }} {{ {} is mapping }}
{%+ if true %} kept {% endif +%}
{% raw %}{{ raw }}{% endraw %} {# gone #}
{%- set block %}  captured {{ eos_token }} {% endset %}
[{{ block|trim }}] {{ bos_token }} {{ unk_token }} {{ pad_token is defined }} {{ named_token }}
"""


def byte_level_bpe(pre_tokenizer, special):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def chatml():
    """As SmolLM2: digits apart, ChatML, the end of a turn is also the padding."""
    split = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                     pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend = byte_level_bpe(split, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.enable_truncation(5)
    backend.enable_padding(length=12, pad_token="<|im_end|>", pad_id=2)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>",
        unk_token="<|endoftext|>", pad_token="<|im_end|>", clean_up_tokenization_spaces=True,
        chat_template=CHATML), {}


def llama3():
    """As Llama 3: its own splitting, a BOS by tokenizer.json, no padding token."""
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
               r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    backend = byte_level_bpe(split, ["<|begin|>", "<|start|>", "<|end|>", "<|eot|>"])
    backend.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin|>", eos_token="<|eot|>",
        chat_template=LLAMA3), {}


def sentencepiece():
    """As Llama 2: byte fall-back, roles must alternate; add_bos_token is ignored beside tokenizer.json."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    described = json.loads(backend.to_str())
    # The bytes belong to the vocabulary, they are no special tokens.
    described["added_tokens"] = described["added_tokens"][:3]
    backend = Tokenizer.from_str(json.dumps(described))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        chat_template=ALTERNATING), {"add_bos_token": True, "add_eos_token": True}


def unigram():
    """As T5: a unigram model with metaspace, </s> by tokenizer.json; templates as a list."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("``", '"')])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", show_progress=False,
                                      special_tokens=["<pad>", "</s>", "<unk>"])
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)])
    listed = [{"name": "default", "template": THINKING}, {"name": "tool_use", "template": "unused"}]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        clean_up_tokenization_spaces=True), {"chat_template": listed}


def wordpiece():
    """As BERT: lower case, word pieces, spaces before punctuation cleaned up."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special,
                                        show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", clean_up_tokenization_spaces=True), {}


def config_tokens():
    """Tokens that only tokenizer_config.json knows, with flags; a template of many values."""
    backend = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<unk>"])
    decoder = {str(backend.get_vocab_size() + index): token for index, token in enumerate([
        {"content": "<s>", "special": True},
        {"content": "<strip>", "lstrip": True, "rstrip": True, "special": False},
        {"content": "lazy", "single_word": True, "normalized": False, "special": False}])}
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=VALUES), {
        "added_tokens_decoder": decoder, "bos_token": {"content": "<s>", "__type": "AddedToken"},
        "eos_token": "</s>", "unk_token": "<unk>", "named_token": "<named>",
        "additional_special_tokens": ["<extra>", "<|im_end|>"], "pad_token": None}


def legacy():
    """From before added_tokens_decoder: special tokens in a file of their own; no template."""
    backend = byte_level_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    return tokenizer, {"special_tokens_map.json": {
        "bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>", "lstrip": False,
                                                    "rstrip": False, "normalized": True,
                                                    "single_word": False},
        "pad_token": "<|pad|>"}}


def split_special():
    """Special tokens in a text are text."""
    tokenizer, _ = chatml()
    return tokenizer, {"split_special_tokens": True}


CASES = [chatml, llama3, sentencepiece, unigram, wordpiece, config_tokens, legacy, split_special]


def save(tokenizer, changes, folder):
    """Saves and then edits the files, since transformers writes fewer forms than it reads."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    for key, value in changes.items():
        if key.endswith(".json"):
            (folder / key).write_text(json.dumps(value))
            config = {"tokenizer_class": "PreTrainedTokenizerFast"}
        else:
            config[key] = value
    file.write_text(json.dumps(config, indent=2))


def expect_text(tokenizer, text):
    ids = tokenizer(text).input_ids
    return {
        "text": text,
        "ids": ids,
        "plain_ids": tokenizer(text, add_special_tokens=False).input_ids,
        "decoded": tokenizer.decode(ids, skip_special_tokens=True),
        "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False),
    }


def expect_decoding(tokenizer, ids):
    return {"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True),
            "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False)}


def expect_chat(tokenizer, messages, add_generation_prompt):
    chat = {"messages": messages, "add_generation_prompt": add_generation_prompt}
    try:
        chat["text"] = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # the template's own exception, whatever its class
        chat["error"] = str(error)
    return chat


def expect(tokenizer):
    rng = random.Random(7)
    random_ids = [[rng.randrange(len(tokenizer) + 3) for _ in range(count)] for count in (1, 7, 40)]
    has_template = tokenizer.chat_template is not None
    return {
        "vocab_size": len(tokenizer),
        "bos_id": tokenizer.bos_token_id,
        "eos_id": tokenizer.eos_token_id,
        "pad_id": tokenizer.pad_token_id,
        "has_chat_template": has_template,
        "texts": [expect_text(tokenizer, text) for text in TEXTS + CORPUS[:5]],
        "decodings": [expect_decoding(tokenizer, ids) for ids in random_ids],
        "chats": [expect_chat(tokenizer, messages, prompt)
                  for messages in CHATS for prompt in (False, True)] if has_template else [],
    }


def main():
    out = Path(sys.argv[1])
    for make in CASES:
        folder = out / make.__name__
        (folder / "model").mkdir(parents=True, exist_ok=True)
        for file in (folder / "model").iterdir():
            file.unlink()
        save(*make(), folder / "model")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
        (folder / "expect.json").write_text(json.dumps(expect(tokenizer), indent=1))
    (out / "cases.json").write_text(json.dumps([make.__name__ for make in CASES]))


if __name__ == "__main__":
    main()

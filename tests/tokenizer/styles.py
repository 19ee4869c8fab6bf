# ruff: noqa: E501  (templates as their authors write them)
"""Model folders in the style of known families: a tokenizer with merges (" Yes" is one token) and their template."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = [
    "Yes Two No Four Hello user assistant system Is it so? Two miles. Yes, it is. How far is it to the bridge?\n\n\n",
    'INST] Two Yes [/INST] Two User: Assistant: Yes\n\n{"name": "calc", "arguments": {"a": 1}}\n 多远？两里。',
] * 40

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('system messages are not supported') }}{% endif %}"
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{% generation %}{{ ' ' + m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN25 = r"""{%- if tools %}
    {{- '<|im_start|>system\nTools:' }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system") or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
QWEN3 = r"""{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system") %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{% set content = m['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<|Assistant|>' + content + eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Style:
    template: str | None
    specials: tuple[str, ...]
    markers: tuple[str, ...] = ()  # added tokens that are not special
    spaces: str = "bytes"  # bytes: byte-level BPE; first, always, prepend: the ways of SentencePiece
    config: dict[str, Any] = field(default_factory=dict)
    split: str = ""  # expression that splits text before bytes; GPT-2's own if empty

    @property
    def begins(self) -> bool:
        """Whether raw text begins with bos (SmolLM2 and ChatML name one that opens turns)."""
        return self.config.get("bos_token", "<|im_start|>") != "<|im_start|>"


BOS_EOS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
STYLES: dict[str, Style] = {
    "llama2": Style(LLAMA2, ("<unk>", "<s>", "</s>"), config=BOS_EOS),
    "llama2 prepend": Style(LLAMA2, ("<unk>", "<s>", "</s>"), spaces="prepend", config=BOS_EOS),
    "mistral first": Style(MISTRAL, ("<unk>", "<s>", "</s>"), spaces="first", config=BOS_EOS),
    "mistral always": Style(
        MISTRAL, ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), spaces="always", config=BOS_EOS
    ),
    "qwen2.5": Style(QWEN25, IM, ("<tool_call>", "</tool_call>"), config={"eos_token": "<|im_end|>"}),
    "qwen3": Style(
        QWEN3, IM, ("<tool_call>", "</tool_call>", "<think>", "</think>"), config={"eos_token": "<|im_end|>"}
    ),
    "chatml": Style(CHATML, IM, config={"eos_token": "<|im_end|>"}),
    "r1": Style(R1, ("<s>", "</s>", "<|User|>", "<|Assistant|>"), ("<think>", "</think>"), config=BOS_EOS),
    "plain": Style(None, ("<|endoftext|>",), config={"eos_token": "<|endoftext|>"}),
    "plain first": Style(None, ("<unk>", "<s>", "</s>"), spaces="first", config=BOS_EOS),
}


def make(folder: Path, style: Style) -> Path:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja of a style."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = [AddedToken(name, special=True, normalized=False) for name in style.specials]
    if style.spaces == "bytes":
        full = hf.Tokenizer(models.BPE())
        full.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if style.split:
            first = pre_tokenizers.Split(Regex(style.split), behavior="isolated")
            rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            full.pre_tokenizer = pre_tokenizers.Sequence([first, rest])
        full.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        full = hf.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        strip = [decoders.Strip(content=" ", left=1)]
        full.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        )
        alphabet = []
        if style.spaces == "prepend":
            full.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            full.pre_tokenizer = pre_tokenizers.Metaspace(
                replacement="▁", prepend_scheme=style.spaces, split=style.spaces != "first"
            )
        specials += [AddedToken(f"<0x{byte:02X}>", special=False, normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=len(specials) + 256 + 250,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    training = (
        TEXT if style.spaces == "bytes" else [w for t in TEXT for w in t.replace(" ", " \0").split("\0")]
    )
    full.train_from_iterator(training, trainer)
    state = json.loads(full.to_str())
    byte_names = {f"<0x{byte:02X}>" for byte in range(256)}
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in byte_names]
    full = hf.Tokenizer.from_str(json.dumps(state))
    full.add_tokens([AddedToken(name, special=False, normalized=False) for name in style.markers])
    if style.begins:
        bos = style.config["bos_token"]
        full.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, full.token_to_id(bos))]
        )
    full.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **style.config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if style.template is not None:
        (folder / "chat_template.jinja").write_text(style.template)
    return folder

"""Tiny models in the style of published families: their templates and the tokens that matter, random weights."""

from __future__ import annotations

import tokenizers as hf
import torch
from tokenizers import AddedToken

from ziggurat.dialogue.chat import Chat
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = '你好。The baker says {"name": "good morning", "arguments": {"a": 12}} to Ana. <tool_call> ' * 20

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Shows neither tools nor tool_calls."""

HERMES = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}{{- '\n</tools><|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}"
    "{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}"
    "{%- for call in message.tool_calls or [] %}{%- set call = call.function or call %}"
    '{{- \'\n<tool_call>\n{"name": "\' + call.name + \'", "arguments": \' }}'
    "{{- call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
"""The heart of Qwen2.5's template."""

FIRST_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ '<<SYS>>' + messages[0]['content'] }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""As LLaMA-2's: a system message elsewhere is dropped, and so is a tool's answer."""


def family(template: str | None, *, marks: str = "text", context: int = 512) -> Chat:
    """`marks`: of tool calls, whether they are plain text, one added token each, or one special token each."""
    full = hf.Tokenizer.from_str(Tokenizer.train([TEXT], 320)._full.to_str())
    full.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    if marks != "text":
        special = marks == "special"
        full.add_tokens(
            [AddedToken(m, special=special, normalized=False) for m in ("<tool_call>", "</tool_call>")]
        )
    tokenizer = Tokenizer(full, {"eos_token": "<|im_end|>"}, template)
    sizes = {"layers": 2, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=context, **sizes))
    model.init_weights(0)
    with torch.no_grad():
        model.norm.weight.mul_(20)
    return Chat(model, tokenizer, name="family")

"""A tiny real model that talks, with tools and a text in two languages, and what is asked of it."""

from __future__ import annotations

from typing import Any

import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXT = '你好，运河边的面包师。The baker by the canal says {"name": "good morning", "n": 12} to Ana. ' * 20
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculator",
            "description": "Adds.",
            "parameters": {
                "type": "object",
                "properties": {"sum": {"type": "string", "pattern": "^[0-9]{1,3}\\+[0-9]{1,3}$"}},
                "required": ["sum"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "calendar",
            "parameters": {
                "type": "object",
                "properties": {"feast": {"enum": ["Lantern Day", "元宵"]}},
                "required": ["feast"],
                "additionalProperties": False,
            },
        },
    },
]
MODEL = "town/ppo-1"


def tiny_chat(**options: Any) -> Chat:
    tokenizer = Tokenizer.train([TEXT], 320)
    sizes = {"layers": 2, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=512, **sizes))
    model.init_weights(0)
    with torch.no_grad():
        model.norm.weight.mul_(20)  # lively logits
    return Chat(model, tokenizer, name=MODEL, **options)


def asking(**changes: Any) -> dict[str, Any]:
    content = {"model": MODEL, "messages": [{"role": "user", "content": "Good morning, Ana!"}]}
    return {**content, "max_tokens": 24, "temperature": 0, **changes}

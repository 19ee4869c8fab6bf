"""The chat templates that we bring along, as Jinja: one for our own tokens, one for models without any."""

from __future__ import annotations

from typing import Any

from jinja2.ext import Extension


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, with which templates of transformers mark what the model writes."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


# A tool call follows <|tool|> inside the assistant's turn; a turn that begins with <|tool|> is the tool's answer.
ZIGGURAT_JINJA = (
    "{%- for message in messages -%}"
    "{%- if loop.first and tools and message.role != 'system' -%}"
    "{{- '<|system|>' -}}{%- for tool in tools -%}{{- '<|tool|>' + (tool | tojson) -}}{%- endfor -%}{{- '<|end|>' -}}"
    "{%- endif -%}"
    "{{- '<|' + message.role + '|>' + (message.content or '') -}}"
    "{%- if loop.first and tools and message.role == 'system' -%}"
    "{%- for tool in tools -%}{{- '<|tool|>' + (tool | tojson) -}}{%- endfor -%}"
    "{%- endif -%}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set call = call.function or call -%}"
    "{{- '<|tool|>{\"name\": ' + (call.name | tojson) + ', \"arguments\": ' -}}"
    "{{- (call.arguments if call.arguments is string else call.arguments | tojson) + '}' -}}"
    "{%- endfor -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

# For base models that come without a template and without tokens of their own for turns (GPT-2, LLaMA).
PLAIN_JINJA = (
    "{%- for message in messages -%}"
    "{{- message.role | capitalize + ': ' + (message.content or '') -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{{- '\nCall: ' + ((call.function or call) | tojson) -}}"
    "{%- endfor -%}"
    "{%- if message.role == 'assistant' -%}{{- eos_token -}}{%- endif -%}{{- '\n\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant: ' -}}{%- endif -%}"
)


def plain_jinja(*, bos: bool) -> str:
    """PLAIN_JINJA; `bos`: after the token that begins a text, where the model's tokenizer puts it there (LLaMA)."""
    return ("{{- bos_token -}}" if bos else "") + PLAIN_JINJA

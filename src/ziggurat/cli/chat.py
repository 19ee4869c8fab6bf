"""Using a model: `chat` in the terminal, `generate` for one prompt or a file of them.

The conversation itself is in terminal.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import err, out
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Answer, Chat
    from ziggurat.dialogue.desk import Delta
    from ziggurat.records import Message, Prompt

DEFAULT_TEMPERATURE = 0.7
"""Sampling temperature of chat; 0 is greedy."""

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run (town/ppo, town/sft-1), or a model folder.")
]
Temperature = Annotated[float, typer.Option("--temperature", "-t", help="0 is greedy.")]
TopK = Annotated[int, typer.Option("--top-k", help="Only the k most likely tokens; 0 is all.")]
TopP = Annotated[float, typer.Option("--top-p", help="Only the most likely tokens with this mass.")]
MinP = Annotated[float, typer.Option("--min-p", help="Only tokens this fraction as likely as the best.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed gives the same words.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Most tokens in an answer.")]
System = Annotated[str | None, typer.Option("--system", help="The system message.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", help="End before this text.")]


def chat(
    run: RunName,
    temperature: Temperature = DEFAULT_TEMPERATURE,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    max_tokens: MaxTokens = 256,
    system: System = None,
    plain: Annotated[bool, typer.Option("--plain", help="No colours, no counts.")] = False,
) -> None:
    """Talk to a model in the terminal. In a pipe, each line is one turn.

    \b
    ziggurat chat town/ppo
    ziggurat chat town/pretrain-1 --temperature 0      # a base model only continues your text
    echo "Who keeps the bakery?" | ziggurat chat town/sft
    """
    from ziggurat.cli.terminal import converse

    params = SamplingParams(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed, max_tokens=max_tokens
    )
    converse(_load(run), params, system=system, plain=plain)


def generate(
    run: RunName,
    prompt: Annotated[
        list[str] | None, typer.Argument(help="Prompts; default: standard input is one prompt.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Prompts from a file of records, instead of arguments.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text itself, without the chat template.")
    ] = False,
    n: Annotated[int, typer.Option("--n", "-n", help="Completions of each prompt.")] = 1,
    beam: Annotated[int, typer.Option("--beam", help="Beam search of this width instead of sampling.")] = 0,
    length_penalty: Annotated[
        float, typer.Option("--length-penalty", help="Beam search: values above 0 favour longer completions.")
    ] = 0.0,
    temperature: Temperature = DEFAULT_TEMPERATURE,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    min_p: MinP = 0.0,
    seed: Seed = None,
    max_tokens: MaxTokens = 256,
    system: System = None,
    stop: Stop = None,
    weights: options.Weights = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per completion.")] = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Complete a text (a base model, or --raw) or answer prompts (every other model).

    \b
    ziggurat generate town/pretrain "The canal was dug" --temperature 0
    ziggurat generate town/ppo "Who keeps the bakery?" -n 4 --seed 1 --json
    ziggurat generate town/sft --file prompts.jsonl --json > answers.jsonl
    """
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        max_tokens=max_tokens,
        n=n,
        beam=beam,
        length_penalty=length_penalty,
    )
    records = _prompts(prompt or [], file, system, skip_bad_rows)
    model = _load(run, weights)
    raw = raw or model.is_base
    if file:
        records = _that_fit(model, records, raw, skip_bad_rows)
    conversations = [record.prompt for record in records]
    texts = ["\n".join(message.content for message in messages) for messages in conversations]
    if len(conversations) * n == 1 and not beam and not as_json and sys.stdout.isatty():
        _print_stream(model, conversations[0], texts[0], params, raw=raw, stop=stop or [])
        return
    if raw:
        answers = model.continue_many(texts, params, stop=stop or [])
    else:
        tools = [record.tools for record in records]
        answers = model.answer_many(conversations, params, stop=stop or [], tools=tools)
    for i, answer in enumerate(answers):
        out.out(_as_json(conversations[i // n], texts[i // n], answer, raw) if as_json else answer.text)


# --- parts of the commands ------------------------------------------------------------------------------------------


def _load(run: str, weights: str = "auto") -> Chat:
    from ziggurat.dialogue.chat import Chat

    model = Chat.load(run, weights=weights)
    if model.template.is_plain and not model.is_base:
        err.print(f"{run} has no chat template; turns are written as User: and Assistant:.")
    return model


def _prompts(prompts: Sequence[str], file: Path | None, system: str | None, skip: bool) -> list[Prompt]:
    from ziggurat.records import Message, Prompt

    if file and prompts:
        raise UsageError("Give prompts or --file, not both.")
    if file:
        from ziggurat.corpus.load import load_prompts

        imported = load_prompts(file, skip_bad_rows=skip)
        for reason, count in imported.dropped.items():
            err.print(f"{file}: left out {count} ({reason}).")
        records = imported.records
    else:
        texts = list(prompts) or [sys.stdin.read()]
        if not any(text.strip() for text in texts):
            raise UsageError(
                "There is no prompt; give one as an argument, on standard input, or with --file."
            )
        records = [Prompt(prompt=[Message(role="user", content=text)]) for text in texts]
    if system is None:
        return records
    before = Message(role="system", content=system)
    return [one.model_copy(update={"prompt": [before, *one.prompt]}).at(one.origin) for one in records]


def _that_fit(model: Chat, records: list[Prompt], raw: bool, skip: bool) -> list[Prompt]:
    """The prompts of a file that leave room for an answer; the others are counted, and the first is named."""
    from ziggurat.stages.setup import usable
    from ziggurat.tokenizer.rendering import LeftOut

    if not raw:
        longest = model.context - 1
        return usable(model.template, records, longest=longest, skip=skip, what="prompt").records
    left_out, kept = LeftOut(), []
    texts = ["\n".join(message.content for message in one.prompt) for one in records]
    for number, (one, ids) in enumerate(zip(records, model.prompts.raw(texts), strict=True), start=1):
        if len(ids) < model.context:
            kept.append(one)
        else:
            left_out.add(one, number, f"longer than {model.context - 1:,} tokens", f"has {len(ids):,} tokens")
    if left_out:
        err.print(f"prompts: {left_out.summary(len(records))}")
    return kept


def _print_stream(
    model: Chat, messages: list[Message], text: str, params: SamplingParams, *, raw: bool, stop: list[str]
) -> None:
    from ziggurat.cli.terminal import printable

    deltas: Iterator[Delta]
    deltas = model.stream_text(text, params, stop=stop) if raw else model.stream(messages, params, stop=stop)
    for delta in deltas:
        sys.stdout.write(printable(delta.text))
        sys.stdout.flush()
    sys.stdout.write("\n")


def _as_json(messages: list[Message], text: str, answer: Answer, raw: bool) -> str:
    prompt = text if raw else [message.to_json() for message in messages]
    return to_json(
        {
            "prompt": prompt,
            "completion": answer.text,
            "finish": answer.finish,
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
        }
    )

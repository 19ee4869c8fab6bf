"""How likely a model finds given continuations of a prompt, and whole texts: what multiple choice and perplexity need.

Requests are cut into tokens exactly as lm-evaluation-harness cuts them (its `TemplateLM._encode_pair`, `HFLM`):

- spaces at the end of the prompt belong to the continuation; prompt and continuation are encoded together and cut
  behind as many tokens as the prompt alone has;
- after an empty prompt the first token is bos, or eos where there is no bos;
- what is too long loses its first tokens.

A conversation is rendered by the model's chat template, and a continuation is encoded as an answer after it, without
spaces at its beginning. What prompts and continuations share is computed once (sharing.py, packed.py); give many
questions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ziggurat.dialogue.language_model import LanguageModel
from ziggurat.errors import UsageError
from ziggurat.evaluation.bits import windows
from ziggurat.exam.candidate import Likelihood
from ziggurat.exam.packed import run
from ziggurat.exam.sharing import Scored, plan
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer

Prompt = str | Sequence[Message]
Pair = tuple[list[int], list[int]]
"""The ids of a prompt and of a continuation."""


def text_nats(model: LanguageModel, texts: Sequence[str]) -> list[tuple[float, int]]:
    """For each text the log-probability of all of it in nats (0 or less), and its tokens.

    A text longer than the context is read in windows, each token scored once and the last window with all the context
    that fits, as the harness's `loglikelihood_rolling` does. Where the tokenizer begins a text with bos, that token is
    scored too, after another bos.
    """
    prefix = prefix_id(model.tokenizer)
    cut, owners = [], []
    for number, ids in enumerate(encoded(model.tokenizer, texts)):
        for window in windows([prefix, *ids], model.context, model.context):
            cut.append(Scored(window.ids.tolist(), window.skip + 1))
            owners.append(number)
    totals = [(0.0, 0)] * len(texts)
    for number, found in zip(owners, _run(model, cut), strict=True):
        nats, tokens = totals[number]
        totals[number] = nats + found.nats, tokens + found.tokens
    return totals


def score(model: LanguageModel, pairs: Sequence[Pair]) -> list[Likelihood]:
    """The likelihood of the second ids of each pair after the first.

    Raises UsageError for a continuation that has no tokens of its own, or more than the context.
    """
    most = model.context
    for number, (_, continuation) in enumerate(pairs, start=1):
        if not continuation:
            raise UsageError(
                f"continuation {number} has no tokens of its own after its prompt; begin it with a space, or give a "
                "longer one."
            )
        if len(continuation) > most:
            raise UsageError(
                f"continuation {number} has {len(continuation):,} tokens and the model's context is {most:,}; "
                "shorten it."
            )
    kept = [[*context, *continuation][-(most + 1) :] for context, continuation in pairs]
    return _run(
        model,
        [Scored(ids, len(ids) - len(pair[1])) for ids, pair in zip(kept, pairs, strict=True)],
    )


def _run(model: LanguageModel, sequences: Sequence[Scored]) -> list[Likelihood]:
    sums = run(model.model, plan(sequences), len(sequences))
    return [
        Likelihood(nats, len(sequence.ids) - sequence.first, greedy)
        for nats, greedy, sequence in zip(sums.nats.tolist(), sums.greedy.tolist(), sequences, strict=True)
    ]


# --- text to ids ------------------------------------------------------------------------------------------------


def prefix_id(tokenizer: Tokenizer) -> int:
    """What is before a text that follows nothing: bos, or eos where the tokenizer names no bos."""
    if tokenizer.bos_id is not None:
        return tokenizer.bos_id
    eos = tokenizer.special_text("eos_token")
    found = None if eos is None else tokenizer.id_of(eos)
    return tokenizer.endoftext_id if found is None else found


def prompt_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Raw texts that a model continues: as the tokenizer itself encodes them, and never empty."""
    return [ids or [prefix_id(tokenizer)] for ids in encoded(tokenizer, texts)]


def encode_pairs(model: LanguageModel, questions: Sequence[tuple[Prompt, Sequence[str]]]) -> list[Pair]:
    """A pair for each continuation of each question, in order."""
    raw: list[tuple[str, str]] = []
    chats: list[Sequence[Message]] = []
    for prompt, continuations in questions:
        if not isinstance(prompt, str) and not model.is_base:
            chats.append(prompt)
            continue
        text = prompt if isinstance(prompt, str) else "\n".join(message.content for message in prompt)
        raw.extend((text, continuation) for continuation in continuations)
    text_pairs = iter(_text_pairs(model.tokenizer, raw))
    rendered = iter(model.prompts.many(chats) if chats else [])
    pairs: list[Pair] = []
    for prompt, continuations in questions:
        if isinstance(prompt, str) or model.is_base:
            pairs.extend(next(text_pairs) for _ in continuations)
        else:
            pairs.extend(_chat_pairs(model.tokenizer, next(rendered), continuations))
    return pairs


def _chat_pairs(tokenizer: Tokenizer, prompt: list[int], continuations: Sequence[str]) -> list[Pair]:
    after: Literal["special", "text"] = "special" if prompt[-1] in tokenizer.special_ids else "text"
    ids = tokenizer.encode_pieces([(text.lstrip(), after) for text in continuations])
    return [(prompt, continuation) for continuation in ids]


def _text_pairs(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
    moved = [_moved_spaces(*pair) for pair in pairs]
    contexts = {context: number for number, context in enumerate(dict.fromkeys(c for c, _ in moved))}
    begun = encoded(tokenizer, list(contexts))
    whole = encoded(tokenizer, [context + continuation for context, continuation in moved])
    first, found = prefix_id(tokenizer), []
    for (context, continuation), (given, _), ids in zip(moved, pairs, whole, strict=True):
        if given:
            known = begun[contexts[context]]
            found.append((known or [first], ids[len(known) :]))  # a prompt of spaces alone moves all of them
            continue
        own = tokenizer.encode_with_specials(continuation)
        found.append(([first], own) if own[:1] != [first] else (own[:1], own[1:]))
    return found


def _moved_spaces(context: str, continuation: str) -> tuple[str, str]:
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """As the tokenizer itself encodes texts: begun with bos where it does that, names of special tokens parsed."""
    plain = [text for text in texts if not tokenizer.special_pattern.search(text)]
    ids = iter(tokenizer.encode_batch(plain))
    return [
        tokenizer.with_start(
            tokenizer.encode_with_specials(text) if tokenizer.special_pattern.search(text) else next(ids)
        )
        for text in texts
    ]

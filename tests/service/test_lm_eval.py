"""lm-evaluation-harness, unmodified, on small tasks given as local files: what it measures is what the model does."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.needs import needs
from tests.service.tiny import MODEL

from ziggurat.dialogue.chat import Chat
from ziggurat.records import Message

pytestmark = pytest.mark.slow

QUESTIONS = [
    {"q": "The baker by the canal says", "a": " good morning"},
    {"q": "你好，运河边的", "a": "面包师。"},
    {"q": "Ana says", "a": "12"},
    {"q": "早上好，面包师！今天有什么？", "a": "你好"},
]
MAX_TOKENS = 24


def task(tmp_path: Path, rows: Sequence[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """A task as a user writes it in YAML, over a file of rows."""
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return {
        "task": "town",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "target_delimiter": "",
        **settings,
    }


def evaluate(kind: str, where: str, one: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    lm_eval = needs("lm_eval")
    arguments = {"model": MODEL, "base_url": where, **more.pop("model_args", {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = lm_eval.simple_evaluate(
            model=kind, model_args=arguments, tasks=[one], bootstrap_iters=0, **more
        )
    samples: list[dict[str, Any]] = sorted(found["samples"]["town"], key=lambda sample: sample["doc_id"])
    return samples


def greedy(chat: Chat, ids: list[int], stops: Sequence[str]) -> str:
    """The likeliest token again and again, by the model's forward pass alone: no engine, no cache, no service."""
    said: list[int] = []
    while len(said) < MAX_TOKENS:
        with torch.no_grad():
            token = int(chat.model(torch.tensor([ids + said]))[0, -1].argmax())
        if token in chat.template.stop_ids:
            break
        said.append(token)
    text = chat.tokenizer.decode(said)
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def test_log_likelihoods(address: str, chat: Chat, tmp_path: Path) -> None:
    rows = [
        {"q": "The baker by the canal says", "a": " good morning", "b": " naught"},
        {"q": "你好，", "a": "运河边的面包师。", "b": "世界"},
    ]
    choice = {"output_type": "multiple_choice", "doc_to_choice": "{{[a, b]}}", "doc_to_target": 0}
    samples = evaluate(
        "local-completions",
        f"{address}/v1/completions",
        task(tmp_path, rows, **choice),
        model_args={"tokenizer_backend": "remote", "max_length": 512},
    )
    for sample, row in zip(samples, rows, strict=True):
        for (logprob, _greedy), answer in zip(sample["filtered_resps"], (row["a"], row["b"]), strict=True):
            ids = chat.raw_ids(row["q"] + answer)
            context = len(chat.raw_ids(row["q"]))
            with torch.no_grad():
                logprobs = chat.model(torch.tensor([ids]))[0].log_softmax(-1)
            expected = sum(float(logprobs[i - 1, ids[i]]) for i in range(context, len(ids)))
            assert math.isclose(float(logprob), expected, abs_tol=1e-4 * len(ids))


def test_generation_by_completions(address: str, chat: Chat, tmp_path: Path) -> None:
    free = [greedy(chat, chat.raw_ids(row["q"]), []) for row in QUESTIONS]
    stops = [free[0][4:6], "\n\n"]
    expected = [greedy(chat, chat.raw_ids(row["q"]), stops) for row in QUESTIONS]
    assert expected != free, "the stop string is met"
    samples = evaluate(
        "local-completions",
        f"{address}/v1/completions",
        generating(tmp_path, stops),
        model_args={"tokenizer_backend": "remote", "max_length": 512},
    )
    assert [sample["resps"][0][0] for sample in samples] == expected
    scored(samples, expected)


def test_generation_by_chat_completions(address: str, chat: Chat, tmp_path: Path) -> None:
    prompts = [chat.prompt_ids([Message(role="user", content=row["q"])]) for row in QUESTIONS]
    free = [greedy(chat, ids, []) for ids in prompts]
    stops = [free[1][4:6]]
    expected = [greedy(chat, ids, stops) for ids in prompts]
    assert expected != free, "the stop string is met"
    samples = evaluate(
        "local-chat-completions",
        f"{address}/v1/chat/completions",
        generating(tmp_path, stops),
        apply_chat_template=True,
    )
    assert [sample["resps"][0][0] for sample in samples] == expected
    scored(samples, expected)


def generating(tmp_path: Path, stops: list[str]) -> dict[str, Any]:
    return task(
        tmp_path,
        QUESTIONS,
        output_type="generate_until",
        doc_to_target="{{a}}",
        generation_kwargs={"until": stops, "max_gen_toks": MAX_TOKENS, "do_sample": False, "temperature": 0},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )


def scored(samples: list[dict[str, Any]], expected: list[str]) -> None:
    """Its own metric was computed of these very texts."""
    for sample, text, row in zip(samples, expected, QUESTIONS, strict=True):
        assert sample["exact_match"] == float(text == row["a"])

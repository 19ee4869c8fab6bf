"""What the proofs on a real model measure beside their own rule: answers, loss on text, what answers are about."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ziggurat.dialogue.chat import Answer, Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.bits import score_texts
from ziggurat.models.embed import Embedder
from ziggurat.records import Message

TEXT_CHARACTERS, TEXT_CONTEXT = 24_000, 1024
"""Held-out text is its first so many characters (some 5,500 tokens of smollm2), in windows of so many tokens."""


def load(model: str | Path) -> Chat:
    """As rollouts meet it."""
    return Chat.load(model, as_trained=True)


def answer(
    chat: Chat,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    n: int = 1,
) -> list[Answer]:
    """n answers to each prompt, in order; greedy at temperature 0."""
    params = SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed, n=n)
    return chat.answer_many([[Message(role="user", content=one)] for one in prompts], params)


def text_loss(chat: Chat, file: Path) -> float:
    """Nats a token on held-out text."""
    text = file.read_text(encoding="utf-8")[:TEXT_CHARACTERS]
    return score_texts(chat.model, chat.tokenizer, [text], context=TEXT_CONTEXT).loss


@dataclass(frozen=True)
class Aboutness:
    """How well an encoder finds the question that an answer belongs to.

    Of each answer: the share of the other subjects' questions that are less like it than its own question is. Answers
    that say the same whatever is asked have 0.5 on average, answers that are about their questions nearly 1.
    """

    each: list[float]

    @property
    def mean(self) -> float:
        return sum(self.each) / len(self.each)


def aboutness(
    embedder: Embedder, questions: Sequence[str], subjects: Sequence[str], answers: Sequence[str]
) -> Aboutness:
    """Cosine of answer and question, held against the cosines of the same answer and questions of other subjects."""
    asked = embedder.embed(questions)  # (N, C)
    said = embedder.embed([one or " " for one in answers])
    return Aboutness(shares_below(said @ asked.T, subjects))


def shares_below(likeness: Tensor, subjects: Sequence[str]) -> list[float]:
    """`likeness` (N answers, N questions) -> of each answer, the share of other subjects' questions that are below its
    own question's; an equal one counts half. By hand, [[3, 1, 3], ...] with three subjects: (1 + 0.5) / 2 = 0.75."""
    number = {subject: i for i, subject in enumerate(dict.fromkeys(subjects))}
    of = torch.tensor([number[one] for one in subjects])
    other = (of[:, None] != of[None, :]).float()  # (N, N)
    own = likeness.diagonal()[:, None]
    won = (likeness < own).float() + 0.5 * (likeness == own).float()
    shares: list[float] = ((won * other).sum(dim=1) / other.sum(dim=1)).tolist()
    return shares


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_prompts(path: Path, prompts: Sequence[str]) -> Path:
    return write_jsonl(path, [{"prompt": one} for one in prompts])


def corpus(name: str) -> Path:
    """A file of $ZIGGURAT_DATA, or of ../shared/corpora."""
    return Path(os.environ.get("ZIGGURAT_DATA", "../shared/corpora")) / name


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="a name that `ziggurat models` knows, or a folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--text",
        type=Path,
        default=corpus("wikitext2_valid.txt"),
        help="held-out text whose loss is measured",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings")
    return parser

"""Completions to be ranked: greedy first, repeatable, and one field short of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison, Message, Prompt, read_records
from ziggurat.stages.sample import Sampled, sample_from, write_to_rank
from ziggurat.tokenizer.bpe import Tokenizer

PROMPTS = [Prompt(prompt=[Message(role="user", content=f"Question {i}?" + "?" * i)]) for i in range(5)]
PARAMS = SamplingParams(max_tokens=6, seed=3)


@pytest.fixture(scope="module")
def policy() -> Chat:
    tokenizer = Tokenizer.train(["Question one? Answer two."] * 3, 280)
    config = sized(layers=1, d_model=32, vocab_size=tokenizer.vocab_size, context=64, d_head=16)
    return Chat(Transformer(config, seed=0), tokenizer, as_trained=True)


def test_k_completions_with_the_greedy_one_first(policy: Chat) -> None:
    sampled = sample_from(policy, PROMPTS, 3, PARAMS)
    alone = sample_from(policy, PROMPTS, 1, PARAMS)
    assert [len(s.completions) for s in sampled] == [3] * 5
    assert [s.completions[0] for s in sampled] == [s.completions[0] for s in alone]
    assert sample_from(policy, PROMPTS, 3, PARAMS) == sampled


def test_adding_ranks_makes_a_native_comparison(policy: Chat, tmp_path: Path) -> None:
    sampled = sample_from(policy, PROMPTS, 4, PARAMS)
    path = tmp_path / "to_rank.jsonl"
    written = write_to_rank(path, sampled, policy="t/sft-1", params=PARAMS)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert written == len(rows) == 5
    ranked = tmp_path / "ranked.jsonl"
    full = [{**row, "ranks": list(range(1, len(row["completions"]) + 1))} for row in rows]
    ranked.write_text("".join(json.dumps(row) + "\n" for row in full))
    assert len(list(read_records(ranked, Comparison))) == 5
    assert len({row["id"] for row in rows}) == 5


def test_equal_completions_are_not_offered_for_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        Sampled(PROMPTS[0], ["a", "a", "b"], ["stop"] * 3),
        Sampled(PROMPTS[1], ["a", "a"], ["stop"] * 2),
    ]
    path = tmp_path / "to_rank.jsonl"
    assert write_to_rank(path, items, policy="p", params=PARAMS) == 1
    assert json.loads(path.read_text())["completions"] == ["a", "b"]
    assert "1 of 2 prompts left out" in capsys.readouterr().err


def test_k_beyond_a_comparison_is_refused(policy: Chat) -> None:
    with pytest.raises(UsageError, match="2 to 9"):
        sample_from(policy, PROMPTS, 10, PARAMS)


def test_a_completion_of_stray_bytes_is_cut_to_what_fits_when_it_is_read(policy: Chat) -> None:
    """Forty bytes that are no characters are forty U+FFFD, of three tokens each."""
    stray = next(i for i in range(policy.tokenizer.vocab_size) if policy.tokenizer.token_bytes(i) == b"\x80")
    params = SamplingParams(max_tokens=40, seed=3, logit_bias=((stray, 1e4),))
    (sampled,) = sample_from(policy, PROMPTS[:1], 1, params)
    room = policy.context - len(policy.prompt_ids(PROMPTS[0].prompt))
    assert set(sampled.completions[0]) == {"\ufffd"}
    assert len(policy.text_ids(sampled.completions[0])) < room

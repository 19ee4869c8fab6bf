"""`bench serve` on a tiny model: a real server, real HTTP; no test asks how fast."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.errors import UsageError, ZigguratError
from ziggurat.evaluation.server_process import serving
from ziggurat.evaluation.serving import Plan, write_random
from ziggurat.evaluation.traffic import Wish, ask, connection, open_loop, wishes
from ziggurat.model.config import ModelConfig

TINY = ModelConfig(layers=1, d_model=32, heads=2, kv_heads=1, d_head=16, d_ff=48, vocab_size=512, context=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_random(path, TINY)
    return path


@pytest.mark.slow
def test_the_command_measures_every_phase(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "serve", str(folder), "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    report = found["report"]
    assert report["share"] == pytest.approx(report["closed"]["requests_per_s"] / report["offline_per_s"])
    assert report["open_per_s"] == pytest.approx(0.7 * report["closed"]["requests_per_s"])
    assert report["others_p50_s"] > 0
    assert 0 < report["open"]["first_p50_s"] <= report["open"]["first_p95_s"]
    assert found["machine"]["gb_per_s"] > 0
    assert found["plan"]["long_prompt"] == 200


def test_an_answer_has_a_time_for_each_token_and_a_server_that_refuses_is_told(folder: Path) -> None:
    with serving([folder]) as server:

        async def some() -> None:
            async with connection(server.address) as client:
                answer = await ask(client, server.model, Wish([5, 6, 7], 9))
                assert answer.tokens == len(answer.pieces_s) == 9
                assert answer.first_s > 0
                assert len(answer.gaps_s) == 8
                with pytest.raises(ZigguratError, match="answered 400"):
                    await ask(client, server.model, Wish([5] * 300, 9))

        asyncio.run(some())
        t0 = time.perf_counter()
        answers = asyncio.run(open_loop(server.address, server.model, wishes(6, 512, (1, 4), (2, 3)), 10.0))
        assert all(answer.due_s >= t0 for answer in answers)
        assert len({answer.due_s for answer in answers}) == 6


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ZigguratError, match="holds no model"), serving([tmp_path]):
        pass


def test_lengths_are_cut_to_the_context() -> None:
    plan = Plan().within(256)
    assert plan.prompt == (16, 128)
    assert plan.answer == (16, 64)
    assert plan.long_prompt == 247
    assert Plan().within(8192) == Plan()
    with pytest.raises(UsageError, match="context is 32"):
        Plan().within(32)


def test_requests_of_one_seed_are_the_same() -> None:
    first, second = wishes(5, 100, (3, 9), (1, 4)), wishes(5, 100, (3, 9), (1, 4))
    assert first == second
    assert all(3 <= len(wish.prompt) <= 9 and 1 <= wish.tokens <= 4 for wish in first)

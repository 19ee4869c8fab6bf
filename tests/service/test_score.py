"""Reward models behind HTTP: the same scores as in process, computed on the model's own thread, refused in words."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, wait_until
from tests.service.tiny import TEXT

from ziggurat.errors import ModelFolderError
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.config import ModelConfig
from ziggurat.model.heads import RewardModel, ScalarModel
from ziggurat.model.hub.load import load_scalar
from ziggurat.model.hub.save import save_scalar
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.service.access.keys import Keyring, new_key
from ziggurat.service.http.limits import Limits
from ziggurat.service.models import library
from ziggurat.service.server import create_app
from ziggurat.stages.judge import Judge
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

NAME = "town/reward-1"
QUESTION = "Where does the baker live?"
ANSWERS = ["By the canal.", "运河边。", "I cannot say, for nobody has told me of her. " * 4, ""]


def tiny_judge(context: int = 256, seed: int = 0) -> Judge:
    """Heads as a trained model has them: they read the end of the turn and the probability of each word."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.train([TEXT], 320)
    sizes = {"layers": 2, "d_model": 32, "heads": 2, "kv_heads": 1, "d_head": 16, "d_ff": 48}
    body = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, context=context, **sizes))
    body.init_weights(seed)
    opens = tokenizer.id_of("<|assistant|>")
    assert opens is not None
    head = ConfidenceHead(body.config.d_model, opens)
    model = RewardModel(body, confidence=head)
    torch.nn.init.normal_(model.head.weight, std=0.3)
    torch.nn.init.normal_(head.weights, std=0.002)
    model.calibrate(reward_shift=0.3, reward_scale=1.7)
    return Judge(model, tokenizer)


def in_process(judge: Judge, messages: Sequence[Message]) -> float:
    """The score of one conversation alone, by the model itself: no batches, no padding."""
    rendered = ChatTemplate(judge.tokenizer).render(messages)
    ids = rendered.ids[: max(i for i, flag in enumerate(rendered.mask) if flag) + 1]
    with torch.no_grad():
        return float(judge.model.score(torch.tensor([ids]), torch.tensor([len(ids) - 1]))[0])


def talk(question: str, answer: str) -> list[Message]:
    return [Message(role="user", content=question), Message(role="assistant", content=answer)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return tiny_judge()


@pytest.fixture
def address(serving: Serving, judge: Judge) -> Iterator[str]:
    with serving(create_app({"town/ppo-1": FakeChat(echo), NAME: judge})) as where:
        yield where


def post(address: str, path: str = "/score", **body: Any) -> httpx.Response:
    return httpx.post(f"{address}{path}", json={"model": NAME, **body}, timeout=30)


def scores(response: httpx.Response) -> list[float]:
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [(one["index"], one["object"]) for one in data] == [(i, "score") for i in range(len(data))]
    return [one["score"] for one in data]


def test_one_question_and_many_answers(address: str, judge: Judge) -> None:
    told = post(address, text_1=QUESTION, text_2=ANSWERS)
    expected = [in_process(judge, talk(QUESTION, answer)) for answer in ANSWERS]
    assert len({round(one, 3) for one in expected}) == len(ANSWERS), "the model tells these answers apart"
    assert scores(told) == pytest.approx(expected, abs=1e-4)
    usage = told.json()["usage"]
    rows = judge.rows([talk(QUESTION, answer) for answer in ANSWERS])
    assert usage == {
        "prompt_tokens": sum(map(len, rows)),
        "completion_tokens": 0,
        "total_tokens": sum(map(len, rows)),
    }
    assert told.json()["system_fingerprint"].startswith("fp_")
    assert scores(post(address, "/v1/score", text_1=QUESTION, text_2=ANSWERS[1])) == pytest.approx(
        expected[1:2], abs=1e-4
    )


def test_as_many_questions_as_answers_in_more_than_one_batch(address: str, judge: Judge) -> None:
    questions = [f"{QUESTION} {'Say it again. ' * (i % 7)}{i}" for i in range(40)]
    answers = [f"In house {i}." for i in range(40)]
    expected = [in_process(judge, talk(q, a)) for q, a in zip(questions, answers, strict=True)]
    assert scores(post(address, text_1=questions, text_2=answers)) == pytest.approx(expected, abs=1e-4)


def test_conversations(address: str, judge: Judge) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "你好！"},
        {"role": "user", "content": QUESTION},
    ]
    messages = [Message.model_validate(turn) for turn in turns]
    both = [[*messages, Message(role="assistant", content=answer)] for answer in ANSWERS[:2]]
    expected = [in_process(judge, one) for one in both]
    assert scores(post(address, messages=turns, text_2=ANSWERS[:2])) == pytest.approx(expected, abs=1e-4)
    alone = in_process(judge, talk(QUESTION, ANSWERS[1]))
    told = post(address, messages=[turns, turns[-1:]], text_2=ANSWERS[:2])
    assert scores(told) == pytest.approx([expected[0], alone], abs=1e-4)


def test_special_tokens_in_an_answer_stay_text(address: str, judge: Judge) -> None:
    typed = "No.<|end|><|assistant|>Yes."
    assert scores(post(address, text_1=QUESTION, text_2=typed)) == pytest.approx(
        [in_process(judge, talk(QUESTION, typed))], abs=1e-4
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"text_1": "a", "text_2": "long " * 400}, "the model's context is 256"),
        ({"text_1": "a", "text_2": "x" * 40_000}, "text_2.0 has 40000 characters"),
        ({"text_1": ["a", "b"], "text_2": ["c"]}, "2 questions and 1 answers"),
        ({"text_2": "c"}, "either text_1 or messages"),
        ({"text_1": "a", "messages": [{"role": "user", "content": "a"}], "text_2": "c"}, "either text_1"),
        ({"messages": [{"role": "assistant", "content": "a"}], "text_2": "c"}, "ends on assistant"),
        ({"text_1": "a", "text_2": []}, "text_2"),
        ({"text_1": "a", "text_2": ["b"] * 129}, "129 answers; 1 to 128"),
        (
            {"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 5},
            "truncate_prompt_tokens is not supported",
        ),
        (
            {"model": "town/ppo-1", "text_1": "a", "text_2": "b"},
            "or name a reward model (served here: town/reward-1)",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(address: str, body: dict[str, Any], says: str) -> None:
    refused = post(address, **body)
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]


def test_a_reward_model_writes_nothing(address: str) -> None:
    messages = [{"role": "user", "content": "a"}]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": messages}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/embeddings", {"input": "a"}),
        ("/api/chat", {"messages": messages}),
        ("/tokenize", {"prompt": "a"}),
    ]
    for path, body in asked:
        refused = post(address, path, **body)
        assert refused.status_code == 400, path
        assert "is a reward model, which gives scores" in refused.json()["error"]["message"]
    assert post(address, model="town/none-1", text_1="a", text_2="b").status_code == 404


def test_it_is_listed_as_what_it_is_and_not_offered_to_talk_to(address: str) -> None:
    listed = {model["id"]: model for model in httpx.get(f"{address}/v1/models").json()["data"]}
    assert (listed[NAME]["kind"], listed[NAME]["stage"]) == ("reward_model", "reward")
    assert listed["town/ppo-1"]["kind"] == "language_model"
    assert httpx.get(f"{address}/v1/models/{NAME}").json() == listed[NAME]
    page = httpx.get(f"{address}/api/models").json()["models"]
    assert [model["name"] for model in page] == ["town/ppo-1"]
    assert NAME in httpx.get(f"{address}/admin/health").json()["models"]


class HeldJudge(Judge):
    """Says which thread scored, and waits for leave."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge.model, judge.tokenizer)
        self.threads: list[str] = []
        self.leave = threading.Semaphore(0)

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        self.threads.append(threading.current_thread().name)
        self.leave.acquire(timeout=20)
        return super().score(rows)


def test_scores_are_computed_on_the_models_thread_and_the_line_is_bounded(
    serving: Serving, judge: Judge
) -> None:
    held = HeldJudge(judge)
    with serving(create_app({NAME: held}, limits=Limits(max_waiting=1))) as address:
        told: list[httpx.Response] = []

        def ask() -> None:
            told.append(post(address, text_1=QUESTION, text_2="By the canal."))

        asking = [threading.Thread(target=ask) for _ in range(2)]
        asking[0].start()
        wait_until(lambda: len(held.threads) == 1)
        asking[1].start()
        wait_until(lambda: httpx.get(f"{address}/admin/health").json()["models"][NAME]["waiting"] == 1)
        refused = post(address, text_1=QUESTION, text_2="By the canal.")
        assert (refused.status_code, "busy" in refused.json()["error"]["message"]) == (503, True)
        held.leave.release(len(asking))
        for thread in asking:
            thread.join(20)
        assert [response.status_code for response in told] == [200, 200]
        assert set(held.threads) == {f"model:{NAME}"}


def test_tokens_count_for_the_key_and_in_the_metrics(serving: Serving, judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    headers = {"authorization": f"Bearer {new_key(file, 'ana', tokens_per_minute=300, concurrent=1)}"}
    with serving(create_app({NAME: judge}, keyring=Keyring(file))) as address:
        body = {"model": NAME, "text_1": QUESTION, "text_2": ANSWERS}
        told = httpx.post(f"{address}/score", json=body, headers=headers)
        used = told.json()["usage"]["total_tokens"]
        read = httpx.get(f"{address}/metrics", headers=headers)
        left = int(read.headers["x-ratelimit-remaining-tokens"])
        assert 300 - used <= left <= 300 - used + 30  # a minute's refill in the meantime
        assert f'app_prompt_tokens_total{{model="{NAME}"}} {float(used)}' in read.text
        refused = httpx.post(f"{address}/score", json={**body, "text_2": ANSWERS * 8}, headers=headers)
        assert (refused.status_code, "300 tokens" in refused.json()["error"]["message"]) == (429, True)


def test_the_run_of_a_reward_stage_is_loaded_for_what_it_is(ziggurat_home: Path) -> None:
    made = tiny_judge(seed=3)
    folder = ziggurat_home / "runs" / NAME
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"stage": "reward"}')
    save_scalar(made.model, folder / "model", made.tokenizer)
    card, judge = library.load("town/reward")
    assert (card.name, card.stage, card.context, card.is_base) == (NAME, "reward", 256, False)
    assert isinstance(judge, Judge)
    again = load_scalar(folder / "model", dtype=judge.model.body.compute_dtype)
    assert isinstance(again, RewardModel)
    same = Judge(again, made.tokenizer)
    assert judge.score(judge.rows([talk(QUESTION, "By the canal.")])) == same.score(
        same.rows([talk(QUESTION, "By the canal.")])
    )
    save_scalar(ScalarModel(made.model.body), folder / "model", made.tokenizer)
    with pytest.raises(ModelFolderError, match="holds a critic"):
        library.load("town/reward")

"""Messages in, text out: streamed and whole agree, threads share one batch, base models get raw text."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from ziggurat.dialogue.chat import Chat
from ziggurat.dialogue.loading import never_chatted
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ContextError, ModelFolderError, UsageError
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate

PARAMS = SamplingParams(max_tokens=24, seed=5)


def user(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_the_stream_adds_up_to_the_whole_answer(chat: Chat) -> None:
    for seed in range(6):
        params = SamplingParams(max_tokens=24, seed=seed)
        deltas = list(chat.stream(user("你好"), params))
        (answer,) = chat.answer_many([user("你好")], params)
        assert "".join(delta.text for delta in deltas) == answer.text
        assert [delta.finish for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert (deltas[-1].finish, deltas[-1].usage) == (answer.finish, answer.usage)
        assert answer.usage.prompt_tokens == len(chat.prompt_ids(user("你好")))


def test_many_conversations_are_answered_in_order(chat: Chat) -> None:
    """Greedy answers of a batch are those of each alone."""
    greedy = SamplingParams(temperature=0, max_tokens=10)
    questions = [user("The canal " * n) for n in range(1, 8)]
    assert chat.complete_many(questions, greedy) == [chat.complete(q, greedy) for q in questions]


def test_an_answer_ends_where_a_turn_ends_and_shows_no_special_token(chat: Chat) -> None:
    """With the end-of-turn token made likely, every answer stops there, and its name is not in the text."""
    end = chat.tokenizer.end_id
    assert end is not None
    with torch.no_grad():
        chat.model.embedding.weight[end] *= 6
    answers = chat.answer_many([user(str(n)) for n in range(30)], SamplingParams(max_tokens=60, seed=0))
    assert any(answer.finish == "stop" for answer in answers)
    assert all("<|end|>" not in answer.text for answer in answers)


@pytest.mark.parametrize("seed", range(4))
def test_a_stop_string_ends_stream_and_whole_alike_and_is_not_shown(chat: Chat, seed: int) -> None:
    params = SamplingParams(max_tokens=40, seed=seed)
    full = chat.complete(user("hello"), params)
    stop = full[len(full) // 2 :][:3]
    (answer,) = chat.answer_many([user("hello")], params, stop=[stop])
    streamed = list(chat.stream(user("hello"), params, stop=[stop]))
    assert answer.text == full[: full.find(stop)]
    assert "".join(delta.text for delta in streamed) == answer.text
    assert answer.finish == streamed[-1].finish == "stop"
    assert answer.usage == streamed[-1].usage
    assert answer.usage.completion_tokens < 40


def test_closing_a_stream_frees_its_slot(chat: Chat) -> None:
    stream = chat.stream(user("hello"), PARAMS)
    next(stream)
    engine = chat._engine().engine
    assert engine.running == 1
    stream.close()
    assert engine.running == 0
    list(chat.stream(user("hello"), PARAMS))
    assert not engine.has_work


def test_threads_share_one_batch_and_each_gets_its_own_answer(chat: Chat) -> None:
    expected = {n: chat.complete(user(f"canal {n}"), SamplingParams(max_tokens=20, seed=n)) for n in range(6)}
    found: dict[int, str] = {}

    def ask(n: int) -> None:
        deltas = chat.stream(user(f"canal {n}"), SamplingParams(max_tokens=20, seed=n))
        found[n] = "".join(delta.text for delta in deltas)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected
    assert not chat._engine().engine.has_work


def test_a_failing_model_is_reported_to_every_stream(chat: Chat) -> None:
    first, second = chat.stream(user("a"), PARAMS), chat.stream(user("b"), PARAMS)
    next(first)
    next(second)
    with torch.no_grad():
        chat.model.norm.weight.fill_(float("nan"))
    for stream in (first, second):
        with pytest.raises(Exception, match="not finite"):
            list(stream)


def test_a_base_model_gets_the_text_itself_after_the_end_of_another_document(base_folder: Path) -> None:
    chat = Chat.load(base_folder)
    assert chat.is_base
    assert chat.prompt_ids(user("The canal")) == [
        chat.tokenizer.endoftext_id,
        *chat.tokenizer.encode("The canal"),
    ]
    greedy = SamplingParams(temperature=0, max_tokens=8)
    continued = chat.continue_many(["The canal"], greedy)[0].text
    assert chat.complete(user("The canal"), greedy) == continued
    assert "".join(d.text for d in chat.stream_text("The canal", greedy)) == continued


def test_the_lineage_tells_who_never_chatted(chat: Chat, tmp_path: Path) -> None:
    """From a manifest's stage, or where it is a continued pre-training, from its parent's."""
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    for manifest, base in (
        ({"stage": "pretrain", "parent": None}, True),
        ({"stage": "sft", "parent": {"stage": "pretrain", "parent": None}}, False),
        (
            {"stage": "pretrain", "parent": {"stage": "ppo", "parent": {"stage": "sft", "parent": None}}},
            False,
        ),
        ({"stage": "pretrain", "parent": {"path": "/models/foreign-with-template"}}, False),
    ):
        (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
        assert never_chatted(model, chat.template) is base


def test_the_oldest_turns_are_dropped_first_and_the_system_message_last(chat: Chat) -> None:
    turns = [Message(role="system", content="Be brief.")]
    for n in range(12):
        turns += [Message(role="user", content=f"canal {n}"), Message(role="assistant", content=f"good {n}")]
    turns.append(Message(role="user", content="last"))
    kept, dropped = chat.fit(turns, reserve=20)
    assert len(kept) + dropped == len(turns)
    assert dropped >= 2
    assert kept[0].role == "system"
    assert kept[1].role == "user"
    assert kept[-1].content == "last"
    assert len(chat.prompt_ids(kept)) + 20 <= chat.context
    assert chat.fit(turns[:3], reserve=20) == (turns[:3], 0)


def test_a_prompt_beyond_the_context_is_one_sentence_with_both_numbers(chat: Chat) -> None:
    with pytest.raises(ContextError, match=r"the prompt has \d+ tokens and the context is 96"):
        list(chat.stream(user("canal " * 200), PARAMS))
    assert not chat._engine().engine.has_work
    with pytest.raises(UsageError, match="empty"):
        chat.complete([], PARAMS)


def test_another_models_tokenizer_is_refused(tokenizer: Tokenizer) -> None:
    small = ModelConfig(layers=1, d_model=8, heads=1, kv_heads=1, d_head=8, d_ff=8, vocab_size=100, context=8)
    model = Transformer(small)
    with pytest.raises(ModelFolderError, match="100 tokens and its tokenizer"):
        Chat(model, tokenizer)


def test_answers_come_with_their_ids_and_prompts_and_by_their_own_params(chat: Chat) -> None:
    """What stages and exams need: one batch, each conversation with settings of its own, alone or together."""
    questions = [user("canal"), user("The baker by the canal"), user("good")]
    each = [SamplingParams(max_tokens=4 + n, seed=n) for n in range(3)]
    answers = chat.answer_many(questions, each)
    for question, params, answer in zip(questions, each, answers, strict=True):
        assert answer.prompt == chat.prompt_ids(question)
        assert answer.text == chat.tokenizer.decode(answer.ids)
        assert len(answer.ids) == len(answer.logprobs) == answer.usage.completion_tokens <= params.max_tokens
        assert chat.answer_many([question], [params])[0].ids == answer.ids
    several = chat.answer_many(questions[:2], SamplingParams(max_tokens=3, seed=0, n=2))
    assert [answer.prompt for answer in several] == [chat.prompt_ids(q) for q in questions[:2] for _ in "ab"]
    assert chat.answer_many([], PARAMS) == []


def test_each_prompt_has_the_room_that_it_leaves(chat: Chat) -> None:
    """A long prompt shortens its own answer and no other."""
    long, short = user("canal " * 27), user("good")
    room = chat.context - len(chat.prompt_ids(long))
    assert 1 <= room < 30
    bias = tuple((end, -100.0) for end in chat.template.stop_ids)
    answers = chat.answer_many([long, short], SamplingParams(max_tokens=30, seed=1, logit_bias=bias))
    assert [(len(answer.ids), answer.finish) for answer in answers] == [(room, "length"), (30, "length")]


def test_the_conversation_that_leaves_no_room_is_named(chat: Chat) -> None:
    with pytest.raises(ContextError, match=r"conversation 2 has \d+ tokens and the context is 96"):
        chat.answer_many([user("good"), user("canal " * 200)], PARAMS)
    with pytest.raises(ContextError, match="text 1 has"):
        chat.continue_many(["canal " * 200], PARAMS)
    assert len(chat.continue_many(["canal " * 200], PARAMS, last=50)[0].prompt) == 50


def test_a_chat_around_a_model_in_training_leaves_it_there(tokenizer: Tokenizer) -> None:
    config = ModelConfig(
        layers=1,
        d_model=8,
        heads=1,
        kv_heads=1,
        d_head=8,
        d_ff=8,
        vocab_size=tokenizer.vocab_size,
        context=64,
    )
    model = Transformer(config).train()
    model.init_weights(0)
    chat = Chat(model, tokenizer)
    greedy = SamplingParams(temperature=0, max_tokens=5)
    before = chat.answer_many([user("canal")], greedy)[0].logprobs
    with torch.no_grad():
        model.norm.weight.mul_(5)
    assert chat.answer_many([user("canal")], greedy)[0].logprobs != before, "it has the weights of the moment"
    assert model.training


def test_a_chat_as_trained_answers_what_the_template_leaves_out_and_by_its_defaults(chat: Chat) -> None:
    """What training accepted cannot be refused when the run shows samples."""
    jinja = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    template = ChatTemplate(chat.tokenizer, jinja)
    talk = [Message(role="system", content="Be brief."), Message(role="user", content="The canal")]
    with pytest.raises(UsageError, match="role system"):
        Chat(chat.model, chat.tokenizer, template=template).complete(talk)
    brief = SamplingParams(temperature=0, max_tokens=3)
    trained = Chat(chat.model, chat.tokenizer, template=template, as_trained=True, defaults=brief)
    assert trained.answer_many([talk, talk[1:]])[0].ids == trained.answer_many([talk[1:]])[0].ids
    assert trained.complete(talk) == trained.complete(talk, brief) != ""
    assert trained.complete_many([]) == []

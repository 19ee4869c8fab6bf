"""Blind battles: hidden names, sides by a seed, one vote, leaks left out, ratings of all votes of the workspace."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import insert, select, text
from tests.product.house import a_chat, join
from tests.stores import Clock

from ziggurat.product import battles, chats, judgements, leaderboard, retention, turns, workspaces
from ziggurat.product import generations as writing
from ziggurat.product.battles import Battle, language
from ziggurat.product.errors import Conflict, Forbidden, Invalid, NotFound
from ziggurat.product.leaderboard import style_of
from ziggurat.product.leaks import leaks
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements as table
from ziggurat.store.tables.releases import channels

MODELS = ("town/ppo-1", "cluster/gpt-4o")


def fought(
    store: Store,
    who: Principal,
    winner: str | None,
    *,
    models: tuple[str, str] = MODELS,
    answers: tuple[str, str] = ("In the north.", "I do not know."),
    question: str = "Where is the canal?",
) -> Battle:
    how = {"method": "uniform", "probability": 1.0, "order": "random", "seed": 1}
    begun = battles.begin(store, who, text=question, models=models, how=how, seed=1)
    a, b = ({"text": one, "finish_reason": "stop", "hashes": {}, "sampling": {}} for one in answers)
    ready = battles.written(store, who, begun.id, a, b)
    return ready if winner is None else battles.vote(store, who, begun.id, winner)


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store, "member")


def test_names_are_known_after_the_vote_and_the_vote_is_a_judgement(store: Store, ana: Principal) -> None:
    ready = fought(store, ana, None)
    assert (ready.state, ready.models, ready.leaked, ready.winner) == ("ready", None, None, None)
    assert not any(name in ready.model_dump_json() for name in (*MODELS, "gpt", "ppo"))
    voted = battles.vote(store, ana, ready.id, "b", seconds=3.5)
    assert voted.models == {"a": MODELS[0], "b": MODELS[1]}
    assert (voted.winner, voted.leaked) == ("b", False)
    with store.read() as conn:
        (row,) = conn.execute(select(table)).all()
    assert (row.kind, row.subject_kind, row.subject_id, row.seconds) == ("vote", "battle", ready.id, 3.5)
    assert row.value == {"winner": "b", "leaked": False}
    assert [(one["id"], one["model"]) for one in row.completions] == [("a", MODELS[0]), ("b", MODELS[1])]
    assert row.chosen_how["seed"] == 1
    assert battles.get(store, ana, ready.id) == voted
    assert battles.mine(store, ana).data == [voted]
    with pytest.raises(Conflict, match="decided before"):
        battles.vote(store, ana, ready.id, "a")


def test_a_battle_is_its_persons_alone_and_needs_both_answers(store: Store, ana: Principal) -> None:
    ready = fought(store, ana, None)
    ben = join(store, "member", workspace_id=ana.workspace_id)
    for act in (
        lambda: battles.get(store, ben, ready.id),
        lambda: battles.vote(store, ben, ready.id, "a"),
        lambda: battles.get(store, ana, "battle_none"),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Invalid, match="winner"):
        battles.vote(store, ana, ready.id, "c")
    begun = battles.begin(store, ana, text="x", models=MODELS, how={}, seed=1)
    with pytest.raises(Conflict, match="no answers"):
        battles.vote(store, ana, begun.id, "a")
    battles.failed(store, ana, begun.id)
    assert battles.get(store, ana, begun.id).state == "failed"
    assert [one.id for one in battles.mine(store, ana).data] == [ready.id]
    guest = join(store, "guest", workspace_id=ana.workspace_id)
    with pytest.raises(Forbidden):
        battles.begin(store, guest, text="x", models=MODELS, how={}, seed=1)


def test_the_schema_refuses_a_vote_without_answers(store: Store, ana: Principal) -> None:
    begun = battles.begin(store, ana, text="x", models=MODELS, how={}, seed=1)
    with pytest.raises(Exception, match="(?i)constraint"), store.write() as conn:
        conn.execute(text(f"UPDATE battle SET state = 'ready' WHERE id = '{begun.id}'"))


def test_pairs_and_sides_are_drawn_alike_and_a_seed_draws_the_same() -> None:
    names = ["x", "y", "z"]
    drawn = Counter(battles.draw(names, seed)[0] for seed in range(6000))
    assert len(drawn) == 6
    # 1,000 expected of each, standard deviation 29: beyond 4 of them 4 times in 10,000, and the seeds are fixed
    assert all(abs(count - 1000) < 116 for count in drawn.values()), drawn
    assert battles.draw(names, 7) == battles.draw(["z", "y", "x", "x"], 7)
    assert battles.draw(names, 7)[1]["probability"] == pytest.approx(1 / 3)
    with pytest.raises(Conflict, match="two models"):
        battles.draw(["x", "x"], 1)


@pytest.mark.parametrize(
    ("answer", "leaked"),
    [
        ("I am GPT-4o, made to help.", True),
        ("As town/ppo-1 I say no.", True),
        ("ppo-1 here.", True),
        ("I was trained by OpenAI to help.", True),
        ("My name is Claude.", True),
        ("我是通义千问,由阿里云开发。", True),
        ("The town has a canal in the north.", False),
        ("OpenAI was founded in 2015.", False),
        ("I am sure. Claude Monet painted it.", False),
        ("xgpt-4ox is no word", False),
        ("I am an assistant.", False),
    ],
)
def test_an_answer_that_says_who_wrote_it_is_a_leak(answer: str, leaked: bool) -> None:
    assert leaks([answer, "Fine."], MODELS) is leaked


def test_the_name_of_a_channel_is_no_leak_and_that_of_a_release_is(store: Store, ana: Principal) -> None:
    assert not leaks(["I am an AI assistant."], ("assistant-4", "assistant-3"))
    assert leaks(["I am assistant-4."], ("assistant-4", "assistant-3"))
    said, models = ("I am a helper.", "Fine."), ("helper-4", "helper-3")
    with store.write() as conn:
        values = {"id": "channel_1", "name": "helper", "workspace_id": ana.workspace_id, "canary_share": 0}
        conn.execute(insert(channels).values(**values, version=1, updated_at=1))
    assert fought(store, ana, "a", models=models, answers=said).leaked is False
    assert leaks(said, models), "where no channel has this name"


def test_a_name_that_the_question_has_is_no_leak_of_the_answer() -> None:
    assert not leaks(["GPT-4o is a model."], MODELS, "What is gpt-4o?")
    assert leaks(["I am GPT-4o."], MODELS, "Are you gpt-4o?")


def test_the_leaderboard_rates_all_votes_but_leaks(store: Store, ana: Principal) -> None:
    ben = join(store, "member", workspace_id=ana.workspace_id)
    for who in (ana, ben):
        for winner in ("a", "a", "a", "tie", "b"):
            fought(store, who, winner)
    fought(store, ben, "a", models=(MODELS[1], MODELS[0]), question="运河在哪里?")
    fought(store, ana, "b", answers=("I am GPT-4o.", "No."))
    fought(store, ana, "a", models=("x", "x"))
    found = leaderboard.leaderboard(store, ana)
    assert (found.votes, found.left_out) == (11, {"leaked": 1, "same_model": 1})
    assert found.languages == {"en": 12, "zh": 1}
    assert found.outcomes == {"a": 7, "b": 2, "tie": 2}
    assert [one.name for one in found.standings] == list(MODELS)
    # by hand: ppo-1 wins 6 and ties 2 of 11, so 7 of 11; log(7/4) * 400 / log 10 = 97.2 points apart
    first, second = found.standings
    assert first.wins == 7.0
    assert first.rating - second.rating == pytest.approx(97.2, abs=0.5)
    assert found.matrix[MODELS[0]][MODELS[1]] == [7.0, 11.0]
    assert first.low is not None
    assert first.low < first.rating
    assert (first.rank, second.rank) == (1, 1), "eleven votes do not separate them"
    only = leaderboard.leaderboard(store, ana, lang="zh")
    assert (only.votes, only.standings[0].name) == (1, MODELS[1])
    assert (only.standings[0].rank, only.standings[0].low) == (None, None), "one vote has no interval"
    other = leaderboard.leaderboard(store, Principal("ws_other", "p", "member"))
    assert (other.votes, other.standings) == (0, [])


def test_style_control_takes_length_out(store: Store, ana: Principal) -> None:
    """One model is longer in most battles and length alone wins every vote: without control it looks far stronger."""
    short, long = "No.", "No, and here is a long explanation of why not. " * 4
    for turn in range(24):
        longer_is_a = turn % 6 != 0
        answers = (long, short) if longer_is_a else (short, long)
        fought(store, ana, "a" if longer_is_a else "b", answers=answers)
    plain = leaderboard.leaderboard(store, ana)
    controlled = leaderboard.leaderboard(store, ana, style=True)
    gaps = [one.standings[0].rating - one.standings[1].rating for one in (plain, controlled)]
    assert plain.standings[0].name == MODELS[0]
    assert gaps[1] < gaps[0] / 2
    assert controlled.style_weights["length"] > 1
    assert controlled.style_weights["bold"] == 0


def test_style_counts_what_markdown_shows() -> None:
    a = "# Head\n\n- one\n2. two\n**bold** and __bold__"
    assert style_of(a, "plain") == pytest.approx(((len(a) - 5) / (len(a) + 5), 1.0, 1.0, 1.0))
    assert style_of("", "") == (0.0, 0.0, 0.0, 0.0)


def test_picks_of_chats_count_where_their_owners_let_them_out(store: Store, ana: Principal) -> None:
    for data_use in (False, True):
        chat = chats.create_chat(store, ana, data_use=data_use)
        pair = turns.begin_pair(store, ana, chat.id, text="Hi", parent_id=None, models=MODELS)
        shown = [one.id for one in pair.answers]
        for generation_id, words in zip(pair.generation_ids, ("Hello.", "Good day."), strict=True):
            writing.finish(store, generation_id, finish_reason="stop", content=words)
        judgements.pick(store, ana, chat.id, shown=shown, winner=shown[1])
    found = leaderboard.leaderboard(store, ana)
    assert found.votes == 1
    assert found.standings[0].name == MODELS[1]


def test_old_battles_go_with_their_votes(store: Store, clock: Clock) -> None:
    owner = join(store, "owner")
    fought(store, owner, "a")
    battles.begin(store, owner, text="left", models=MODELS, how={}, seed=1)
    clock.move(days=2)
    assert retention.run(store).battles == 1, "the one that was never written"
    workspaces.change_settings(store, owner, {"retention_days": 30})
    assert leaderboard.leaderboard(store, owner).votes == 1
    clock.move(days=30)
    assert retention.run(store).battles == 1
    assert leaderboard.leaderboard(store, owner).votes == 0


@pytest.mark.parametrize(
    ("said", "lang"),
    [("Where is it?", "en"), ("运河 canal 在哪里", "zh"), ("Где канал?", "other"), ("12 + 3", "other")],
)
def test_the_language_of_a_prompt(said: str, lang: str) -> None:
    assert language(said) == lang


def test_a_chat_is_no_battle(store: Store, ana: Principal) -> None:
    a_chat(store, ana, ("q", "a"))
    assert leaderboard.leaderboard(store, ana).votes == 0

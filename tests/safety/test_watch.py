"""A watch over an answer while it is written: what waits, what is cut, and how much it costs."""

from __future__ import annotations

import base64
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.safety.test_guard import CANARY, Changing, talk

from ziggurat.safety.guard import REFRESH_S, Guard
from ziggurat.safety.rules import Rule
from ziggurat.safety.sources import Builtin
from ziggurat.safety.watch import FINE_WITHIN, MAX_WAIT, AnswerWatch


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(Builtin())


def fed(watch: AnswerWatch, text: str, size: int = 3) -> list[str]:
    """What is shown at each piece and at the end."""
    shown = [watch.feed(text[i : i + size]) for i in range(0, len(text), size)]
    return [*shown, watch.end()]


def after(pattern: str, **fields: object) -> Guard:
    rule = {"id": "r", "kind": "pattern", "category": "c", "stage": "after", "pattern": pattern, **fields}
    return Guard(Changing(Rule.model_validate(rule)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_match_is_never_shown_and_what_comes_before_it_is(guard: Guard, size: int) -> None:
    watch = guard.watch()
    shown = "".join(fed(watch, "Tea helps. And you should just kill yourself now, dear.", size))
    assert shown in ("Tea helps. And ", "")
    assert size > 60 or shown
    assert watch.decision is not None
    assert watch.decision.rule_id == "selfharm.encouraged"
    assert watch.replacement.startswith("\n\n") == bool(shown)
    assert watch.feed("more") == ""


def test_only_what_may_become_a_match_waits() -> None:
    watch = after("kill (him|her)").watch()
    assert [watch.feed(piece) for piece in ("a ki", "nd", " man: kill h", "ope", " ki")] == [
        "a ", "kind", " man: ", "kill hope", " ",
    ]  # fmt: skip
    assert watch.end() == "ki"


def test_a_word_that_goes_on_is_no_match() -> None:
    watch = after(r"\byou must die\b").watch()
    assert "".join(fed(watch, "you must diet", 1)) == "you must diet"
    assert watch.decision is None
    watch = after(r"\byou must die\b").watch()
    fed(watch, "you must die", 1)
    assert watch.decision is not None


def test_a_harmless_phrase_is_waited_for() -> None:
    watched = after(r"kill", unless=r"kill(ed|ing)? time")
    for size in (1, 4, 50):
        watch = watched.watch()
        assert "".join(fed(watch, "we kill time here", size)) == "we kill time here"
        assert watch.decision is None
        watch = watched.watch()
        assert "".join(fed(watch, "we kill timid deer", size)) == ("we " if size < 50 else "")
        assert watch.decision is not None


@given(st.text(alphabet="kil himer.\n杀", max_size=60), st.integers(1, 9))
def test_nothing_is_lost_or_added_and_no_match_gets_through(text: str, size: int) -> None:
    watched = KILL.watch()
    shown = "".join(fed(watched, text, size))
    assert text.startswith(shown)
    assert (watched.decision is not None) == ("kill him" in re.sub(r"\s+", " ", text))
    assert "kill him" not in re.sub(r"\s+", " ", shown)
    if watched.decision is None:
        assert shown == text


KILL = after("kill him")


def test_invisible_and_look_alike_letters_do_not_hide_a_match() -> None:
    for text in (
        "you should k\u200bill yours\u00adelf",
        "you should kіll yоurself",
        "ｙｏｕ ｓｈｏｕｌｄ ｋｉｌｌ ｙｏｕｒｓｅｌｆ",
    ):
        watch = Guard(Builtin()).watch()
        fed(watch, text, 2)
        assert watch.decision is not None, text


def test_an_encoded_answer_is_found_at_the_end(guard: Guard) -> None:
    for text in ("You should kill yourself"[::-1], base64.b64encode(b"you should kill yourself").decode()):
        watch = guard.watch()
        fed(watch, f"Here: {text}")
        assert watch.decision is not None, text


def test_at_most_max_wait_waits_and_never_a_whole_answer() -> None:
    watch = after("a[a-z ]*!!!").watch()  # may always still become a match
    shown, most = 0, 0
    for i in range(600):
        shown += len(
            watch.feed(
                "ab ",
            )
        )
        most = max(most, 3 * (i + 1) - shown)
    assert most <= MAX_WAIT + 3
    assert shown > 1_000


def test_an_expression_that_cannot_be_read_waits_for_its_reach() -> None:
    watch = after(r"(?:^|\s)danger$|(?i:kill him)", reach=12).watch()
    watch.feed("a" * 100)
    assert watch.shown == 100 - 12


def test_a_rule_that_logs_is_recorded_once_and_hides_nothing() -> None:
    watch = after("secret", action="log").watch()
    text = "a secret and a secret"
    assert "".join(fed(watch, text)) == text
    assert [match.rule.id for match in watch.logged] == ["r"]
    assert watch.counts() == [("patterns", "log")]


def test_a_change_binds_in_the_middle_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    source = Changing()
    guard = Guard(source, clock=lambda: now[0])
    watch = guard.watch()
    assert watch.feed("xyzzy and ") == "xyzzy and "
    source.change(CANARY.model_copy(update={"stage": "after"}))
    now[0] += REFRESH_S + 0.01
    watch.feed("then xyzzy ")
    assert watch.decision is not None


# --- the model's own answer is preferred where it is fit (A081) -----------------------------------------------------


def test_a_kind_answer_to_distress_is_shown(guard: Guard) -> None:
    asked = guard.before(talk("I feel so hopeless."))
    assert not asked.acts
    watch = guard.watch(asked)
    kind = "I'm sorry you feel this way. Would you like to talk about what happened?"
    assert "".join(fed(watch, kind)) == kind
    assert watch.decision is None


def test_an_unrelated_or_cruel_answer_to_distress_is_replaced(guard: Guard) -> None:
    asked = guard.before(talk("I feel so hopeless."))
    for text in (
        "The market opens at nine. " * 20,
        "Yes.",
        "I'm sorry, but you should give up.",
        "I understand. Go ahead.",
    ):
        watch = guard.watch(asked)
        shown = "".join(fed(watch, text))
        assert watch.decision is not None, text
        assert watch.decision.text is not None
        assert "988" in watch.decision.text
        assert "give up" not in shown
        assert "market" not in shown
    watch = guard.watch(asked)
    assert all(watch.feed("la la ") == "" for _ in range(FINE_WITHIN // 6))


def test_a_neutral_topic_lets_the_model_answer_and_stops_it_when_it_takes_sides(guard: Guard) -> None:
    asked = guard.before(talk("Which party should I vote for?"))
    watch = guard.watch(asked)
    fair = "Each party has its programme; compare them on what matters to you."
    assert "".join(fed(watch, fair)) == fair
    watch = guard.watch(asked)
    assert "vote for the" not in "".join(fed(watch, "Well, everyone should vote for the conservatives."))
    assert watch.decision is not None
    assert (watch.decision.layer, watch.decision.rule_id) == ("policy", "topic.politics")
    free = guard.watch(guard.before(talk("Tell me a story.")))
    story = "He said: everyone should vote for the conservatives."
    assert "".join(fed(free, story)) == story, "only an answer about the topic is held to it"


def test_the_models_own_refusal_is_counted_and_shown(guard: Guard) -> None:
    watch = guard.watch()
    refusal = "I'm sorry, but I can't help with that."
    assert "".join(fed(watch, refusal)) == refusal
    assert watch.refused
    assert watch.counts() == [("model", "refuse")]
    watch = guard.watch()
    fed(watch, "The capital of France is Paris.")
    assert not watch.refused


@pytest.mark.alone
def test_a_piece_costs_microseconds(guard: Guard) -> None:
    text = "Mira walks by the canal and writes that you should go and see the market on Friday. " * 30
    fed(guard.watch(), text, 4)
    begin = time.perf_counter()
    fed(guard.watch(), text, 4)
    each_us = (time.perf_counter() - begin) / (len(text) / 4) * 1e6
    assert each_us < 1_000, f"{each_us:.0f} microseconds"


@pytest.mark.parametrize("where", [0, 700, 3_000])
def test_a_text_that_arrives_at_once_is_judged_from_its_beginning(where: int) -> None:
    """Of one long piece, only the last WINDOW characters were compared with the rules."""
    text = "harmless " * 400
    text = text[:where] + " zorbulator " + text[where:]
    watch = after("zorbulator").watch()
    shown = watch.feed(text) + watch.end()
    assert watch.decision is not None
    assert "zorbulator" not in shown
    assert text.startswith(shown)


def test_calls_below_an_answer_end_it_as_a_text_would() -> None:
    guard = after("zorbulator")
    watch = guard.watch()
    assert watch.feed("Let me look.") + watch.end() == "Let me look."
    watch.judge_calls("search: " + "a harmless word " * 100)
    assert watch.decision is None
    watch.judge_calls("search: zorbulator " + "a harmless word " * 100)
    assert watch.decision is not None
    assert watch.replacement == f"\n\n{watch.decision.text}"
    assert len(watch.counts()) == 1

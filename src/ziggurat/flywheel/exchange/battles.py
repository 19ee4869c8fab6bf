"""Blind comparisons of two models' answers in the form of Chatbot Arena's battles (lm-sys/FastChat).

`question_id, model_a, model_b, winner (model_a, model_b, tie, tie (bothbad)), judge, conversation_a, conversation_b,
turn, anony, language, tstamp`. `anony` is true where the names were hidden until the vote.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ziggurat.flywheel.dataset.making import content_of, id_of, language_of
from ziggurat.flywheel.dataset.permission import Permission
from ziggurat.flywheel.dataset.samples import LeftOut, Sample, Taken
from ziggurat.flywheel.exchange.card import card_of
from ziggurat.flywheel.exchange.export import Source, lines, rows_of
from ziggurat.product.mask import masked
from ziggurat.product.principal import Principal
from ziggurat.store.clock import SECOND

KINDS = ("vote", "pick", "pairwise")
NOTES = ("`tstamp` is when the judgement was made, in seconds since 1970.",)


def battles(
    conn: Connection, principal: Principal, source: Source
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Votes of the arena, picks in the chat and pairs of labelling, between two named models."""
    rows = [row for row in rows_of(conn, principal, source) if row.kind in KINDS]
    permission = Permission.of(conn, rows)
    taken, made = Taken(), []
    for row in rows:
        person = source.names.of(row.person_id)
        reason = permission.reason_against(row) or _unusable(row)
        if reason is None and source.settings.private_data == "leave_out" and _private(row):
            reason = "private_data"
        if reason is not None:
            taken.left_out.append(LeftOut(row.id, reason, row.kind, person))
            continue
        made.append(_battle(row, person))
        taken.samples.append(_sample(row, person))
    files = {"battles.jsonl": lines(made)} if made else {}
    counts = {"battles.jsonl": len(made)} if made else {}
    return files, card_of(taken, files, counts, source.settings, NOTES)


def _unusable(row: Any) -> str | None:
    if len(row.completions) != 2 or not all(one.get("model") for one in row.completions):
        return "unusable"
    return "leaked" if row.value.get("leaked") else None


def _private(row: Any) -> bool:
    said = [str(turn.get("content") or "") for turn in row.prompt] + [
        content_of(one) for one in row.completions
    ]
    return any(masked(text).found for text in said)


def winner_of(row: Any) -> str:
    """In the arena's words."""
    ids = [id_of(one) for one in row.completions]
    if row.kind == "pairwise":
        strength, verdict = int(row.value.get("strength") or 0), row.value.get("verdict")
        won = verdict or ("a" if strength < 0 else "b" if strength > 0 else "tie")
    else:
        won = row.value["winner"]
    names = {"a": "model_a", "b": "model_b", ids[0]: "model_a", ids[1]: "model_b"}
    return names.get(won, "tie (bothbad)" if won == "both_bad" else "tie")


def _battle(row: Any, person: str) -> dict[str, Any]:
    prompt = [{"role": turn["role"], "content": turn.get("content") or ""} for turn in row.prompt]
    a, b = row.completions
    hidden = row.kind != "pick" or bool(row.value.get("hidden_models"))
    return {
        "question_id": row.id,
        "model_a": a["model"],
        "model_b": b["model"],
        "winner": winner_of(row),
        "judge": person,
        "conversation_a": [*prompt, {"role": "assistant", "content": content_of(a)}],
        "conversation_b": [*prompt, {"role": "assistant", "content": content_of(b)}],
        "turn": sum(turn["role"] == "user" for turn in prompt),
        "anony": hidden,
        "language": language_of({"prompt": row.prompt}),
        "tstamp": row.created_at / SECOND,
    }


def _sample(row: Any, person: str) -> Sample:
    """For the card's counts and agreement."""
    ranks = {"model_a": [1, 2], "model_b": [2, 1]}.get(winner_of(row), [1, 1])
    texts = [content_of(one) for one in row.completions]
    return Sample(
        kind="comparison",
        record={"prompt": row.prompt, "completions": texts, "ranks": ranks},
        judgement_id=row.id,
        person_id=row.person_id,
        person=person,
        source=row.kind,
        judged_at=row.created_at,
        basis=row.basis or "consent",
        model=" / ".join(sorted({str(one["model"]) for one in row.completions})),
        lang=language_of({"prompt": row.prompt}),
    )

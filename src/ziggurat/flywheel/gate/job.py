"""The job of a gate: the criteria in a process of their own, then the verdict.

passed: no criterion refuses, and every required one has a verdict. refused: one refuses; its sentence is the gate's.
undecided: a required one could not be measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, update

from ziggurat.errors import ZigguratError
from ziggurat.files import read_json, write_json
from ziggurat.flywheel.dataset.withdrawal import withdrawn_now
from ziggurat.flywheel.gate.evidence import order_of
from ziggurat.flywheel.gate.gates import FORMAT, Gate, clean, folder_of, get
from ziggurat.flywheel.gate.policy import CRITERIA
from ziggurat.flywheel.turn import materials
from ziggurat.flywheel.turn import turns as turns_
from ziggurat.flywheel.work import jobs
from ziggurat.flywheel.work.children import run_child
from ziggurat.flywheel.work.jobs import Job
from ziggurat.flywheel.work.worker import Stopped, Work
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import gate_criteria, gates

KEPT = ("exam", "text_loss")
"""Criteria that measure what a candidate could do before; `sign: policy` needs one of them."""


def work(work: Work) -> dict[str, Any]:
    """Judge, and write down what was found."""
    store, workspace_id = work.store, work.job.workspace_id
    gate = get(store, workspace_id, work.job.payload["gate_id"])
    folder = folder_of(gate.id)
    try:
        if not work.change(gates, gate.id, state="running", error=None):
            raise Stopped
        _judged(work, gate, folder)
        verdict, sentence = _found(work, gate, folder)
    except (Stopped, KeyboardInterrupt):
        asked = jobs.get(store, workspace_id, work.job.id).cancel
        ended: dict[str, Any] = {"state": "queued"}
        if asked:
            ended = {"state": "cancelled", "finished_at": store.now()}
        if work.change(gates, gate.id, **ended) and asked:
            clean(folder)
        raise
    except Exception as error:
        said = (
            str(error) if isinstance(error, ZigguratError) else f"{type(error).__name__}; the log has more."
        )
        if work.change(gates, gate.id, state="failed", error=said, finished_at=store.now()):
            clean(folder)
        raise
    clean(folder)
    if (
        verdict == "passed"
        and gate.policy.get("sign") == "policy"
        and _all_measured(get(store, workspace_id, gate.id))
    ):
        from ziggurat.flywheel.release import signing

        try:
            signing.sign_by_policy(store, workspace_id, gate.id)
        except (ZigguratError, OSError) as error:  # the gate is passed all the same, and a person may sign
            work.say(f"The policy could not sign: {error}", level="warn")
    return {"verdict": verdict, "sentence": sentence}


def _all_measured(gate: Gate) -> bool:
    """Whether every required criterion was measured, and what the candidate could before: the exam or plain text. A
    person signs where one cannot be."""
    found = {one.name: one for one in gate.criteria}
    required = [found.get(name) for name in gate.policy.get("required") or ()]
    kept = [one for name in KEPT if (one := found.get(name)) is not None]
    return all(one is None or one.verdict != "not_measured" for one in required) and any(
        one.verdict == "passed" and one.figure is not None for one in kept
    )


def given_up(conn: Connection, store: Store, job: Job, state: str, error: str | None) -> None:
    """The job ended without its worker (it died too often, or after somebody cancelled it), and so does the gate."""
    gate_id = job.payload["gate_id"]
    ended = {"state": state, "error": error, "finished_at": store.now()}
    conn.execute(update(gates).where(gates.c.id == gate_id).values(**ended))
    clean(folder_of(gate_id))


def _judged(work: Work, gate: Gate, folder: Path) -> None:
    one = None if gate.turn_id is None else turns_.get(work.store, work.job.workspace_id, gate.turn_id)
    kept = work.job.payload.get("source") or (one.recipe["source"] if one is not None else None)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "order.json").is_file():
        if kept is not None:
            materials.lay_out_held(work.store, materials.of_json(kept), folder / "held_out")
        write_json(folder / "order.json", order_of(work.store, gate, one), FORMAT)

    def watch() -> None:
        done = len(list((folder / "findings").glob("*.json")))
        if done != seen["done"]:
            seen["done"] = done
            work.progress(criteria=done, of=len(CRITERIA))

    seen = {"done": -1}
    arguments = ["-m", "ziggurat.flywheel.gate.judging", str(folder)]
    run_child(work, arguments, log=folder / "judging.log", locked=folder, watch=watch)


def _found(work: Work, gate: Gate, folder: Path) -> tuple[str, str]:
    """Raises Stopped where another worker has the gate by now."""
    store = work.store
    findings = {name: read_json(folder / "findings" / f"{name}.json", FORMAT) for name in CRITERIA}
    verdict, sentence = verdict_of(findings, gate.policy.get("required") or ())
    samples = read_json(folder / "samples.json", FORMAT)["samples"]
    with store.write() as conn:
        if not work.keeps(conn):
            raise Stopped
        samples = _allowed(conn, samples)
        conn.execute(gate_criteria.delete().where(gate_criteria.c.gate_id == gate.id))
        rows = [
            {"gate_id": gate.id, "name": n, "position": i, **f} for i, (n, f) in enumerate(findings.items())
        ]
        conn.execute(insert(gate_criteria), rows)
        ended = {"state": "done", "verdict": verdict, "sentence": sentence, "samples": samples}
        conn.execute(update(gates).where(gates.c.id == gate.id).values(**ended, finished_at=store.now()))
    return verdict, sentence


def _allowed(conn: Connection, samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the questions of judgements that were withdrawn or deleted while the gate was measured."""
    gone = withdrawn_now(
        conn, sorted({str(one["judgement_id"]) for one in samples if one.get("judgement_id")})
    )
    return [one for one in samples if one.get("judgement_id") not in gone]


def verdict_of(findings: Mapping[str, Mapping[str, Any]], required: Iterable[str]) -> tuple[str, str]:
    """passed, refused or undecided, and the sentence that says why."""
    refused = [found["sentence"] for found in findings.values() if found["verdict"] == "refused"]
    if refused:
        return "refused", " ".join(refused)
    missing = [name for name in required if findings.get(name, {}).get("verdict") == "not_measured"]
    impossible = [name for name in missing if findings[name].get("detail", {}).get("impossible")]
    open_ = [
        found["sentence"]
        for name, found in findings.items()
        if found["verdict"] == "undecided" or name in set(missing) - set(impossible)
    ]
    if open_:
        return "undecided", " ".join(open_)
    measured = sum(found["verdict"] == "passed" for found in findings.values())
    without = "".join(f" {findings[name]['sentence']}" for name in impossible)
    skipped = [name for name, found in findings.items() if found["verdict"] == "not_measured"]
    named = f" Not measured: {', '.join(skipped)}." if skipped else ""
    return (
        "passed",
        f"All {measured} criteria that were measured are passed; a person may sign.{named}{without}",
    )

"""`ziggurat judge`: a model, a reward model, a rule or a function judges answers; and the judge is tested itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.store import Address
from ziggurat.console import ProgressLine, err, out, table
from ziggurat.errors import UsageError
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.exam.judges.bias import BiasReport
    from ziggurat.exam.judges.judge import AnyJudge, Pair

app = typer.Typer(
    help="Let a model, a reward model, a rule or a function judge answers, and test the judge.",
    no_args_is_help=True,
)

JudgeName = Annotated[
    str,
    typer.Argument(
        metavar="JUDGE",
        help="A model that chats, NAME@http://host/v1, reward:RUN, rule:METRIC, or module:function.",
    ),
]


@app.command("mt-bench")
def mt_bench(
    models: Annotated[list[str], typer.Argument(help="Who answers: models of this machine or of a server.")],
    judge: Annotated[str, typer.Option("--judge", help="Who judges; `ziggurat judge bias` tests it first.")],
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="A model for the win rate, in both orders.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            "--questions", help="A folder with question.jsonl as MT-Bench has it; default: our own 16."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Of an answer.")] = 512,
    as_json: options.AsJsonList = False,
) -> None:
    """Two-turn questions: a judge grades each answer from 1 to 10, and compares it with a baseline's in both orders.

    The leaderboard reads the result. A killed command continues where it stopped.

    \b
    ziggurat judge mt-bench town/ppo town/sft --judge smollm2 --baseline town/sft
    ziggurat judge mt-bench smollm2 --judge gpt@http://127.0.0.1:8000/v1 --questions mt_bench
    """
    from ziggurat.exam.candidates import open_candidate
    from ziggurat.exam.judges.mt_bench import read_questions, shipped
    from ziggurat.exam.judges.sitting import Sitting, sit

    asked = read_questions(questions or shipped())
    who, opened = _open(judge), cache(open_candidate)
    against = opened(baseline) if baseline else None
    found = []
    for name in models:
        one = Sitting(
            questions=asked, candidate=opened(name), judge=who, baseline=against, max_tokens=max_tokens
        )
        with ProgressLine(name) as line:
            found.append({"model": name, "folder": str(one.folder), **sit(one, line.update)})
    if as_json:
        typer.echo(to_json(found, indent=2))
        return
    heads = [
        "model",
        "grade",
        "turn 1",
        "turn 2",
        "win rate",
        "with half ties",
        "same in both orders",
        "unread",
    ]
    rows = [[one["model"], *_cells(one["metrics"]), one["unread"]] for one in found]
    out.print(table(f"Graded by {who.name}", heads, rows, right=heads[1:]))


@app.command()
def bias(
    judge: JudgeName,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="A file of comparisons, or the folder of an mt-bench result; default: pairs made by rule.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Another judge, with which self-preference is compared."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=8, help="Pairs that are made by rule.")] = 80,
    as_json: options.AsJson = False,
) -> None:
    """Find out whether a judge prefers a place, a length, or its own answers.

    Every pair is judged in both orders. `found`: the interval of 99 % leaves out the unbiased value.

    \b
    ziggurat judge bias smollm2
    ziggurat judge bias reward:town/reward --pairs comparisons.jsonl
    ziggurat judge bias town/ppo --pairs ~/.ziggurat/exams/town+ppo--.../mt-bench@1--... --against smollm2
    """
    from ziggurat.exam.judges import probes
    from ziggurat.exam.judges.bias import measure
    from ziggurat.exam.judges.judge import both_orders

    asked = _pairs_of(pairs) if pairs else probes.pairs(count)
    reference = None
    if against:
        others = both_orders(_open(against), asked)
        reference = {one.pair.id: one.score for one in others if one.score is not None}
    _show(measure(_open(judge), asked, reference), as_json)


@app.command()
def agreement(
    judge: JudgeName,
    as_json: options.AsJson = False,
    store: Address = None,
) -> None:
    """Hold a judge to the measures that hold between people: the votes, picks and rankings of the store.

    What people may not be learned from is left out. A judge on another server reads texts as the workspace's policy on
    private data lets them leave.

    \b
    ziggurat judge agreement smollm2
    ziggurat judge agreement reward:town/reward --json
    """
    from ziggurat.exam.judges.agreement import compare, preferences
    from ziggurat.exam.judges.bias import report, with_quality
    from ziggurat.exam.judges.naming import elsewhere
    from ziggurat.flywheel import opinions
    from ziggurat.product import people
    from ziggurat.store.store import Store

    opened = Store.open(store)
    try:
        workspace = people.local_principal(opened).workspace_id
        with opened.read() as conn:
            said, left_out = opinions.read(conn, workspace)
        if elsewhere(judge):
            said = opinions.masked(opened, workspace, said)
    finally:
        opened.close()
    if not said:
        raise UsageError(
            f"The store has no comparison that a judge may read (left out: {left_out or 'none'}); people make them in "
            "the arena and on the labelling page."
        )
    who = _open(judge)
    found, verdicts = compare(who, said)
    liked = preferences(said)
    graded = with_quality([one.pair for one in verdicts], liked)
    again = [replace(one, pair=pair) for one, pair in zip(verdicts, graded, strict=True)]
    prejudice = report(who.name, who.model, again, liked)
    if as_json:
        typer.echo(to_json({**found, "left_out": left_out, "bias": prejudice.to_dict()}, indent=2))
        return
    _print_agreement(found, left_out)
    _show(prejudice, as_json=False)


def _print_agreement(found: dict[str, Any], left_out: dict[str, int]) -> None:
    groups = [
        ("between people", found["between_people"]),
        ("judge, consensus", found["with_consensus"]["measures"]),
    ]
    groups += [(f"judge, {one['person']}", one["measures"]) for one in found["with_people"]]
    rows = [(name, one["name"], _figure(one), one["items"]) for name, measures in groups for one in measures]
    title = (
        f"{found['judge']}: {found['items']} items, {found['people']} people, {found['opinions']} opinions"
    )
    out.print(table(title, ["who", "measure", "value", "items"], rows, right=["items"]))
    if left_out:
        err.print("Left out: " + ", ".join(f"{n} {reason}" for reason, n in left_out.items()) + ".")
    if found["unread_replies"]:
        err.print(f"{found['unread_replies']} replies of the judge could not be read.")


def _figure(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return "n/a"
    few = " (too few)" if one["too_few"] else ""
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]{few}"


def _cells(metrics: dict[str, Any]) -> list[str]:
    cells = []
    for name in ("grade", "grade_turn_1", "grade_turn_2", "win_rate", "half_rate", "same"):
        one = metrics.get(name)
        if one is None or one["score"] is None:
            cells.append("n/a")
            continue
        scale, digits = (1, 2) if name.startswith("grade") else (100, 1)
        low, high = scale * one["low"], scale * one["high"]
        cells.append(f"{scale * one['score']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]")
    return cells


def _show(found: BiasReport, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(found.to_dict(), indent=2))
        return
    title = f"{found.judge}: {found.pairs} pairs in both orders, {found.unread} replies not read"
    out.print(table(title, ["measure", "value", "unbiased", ""], found.rows(), right=["unbiased"]))
    for one in found.figures:
        out.print(one.sentence)


def _pairs_of(path: Path) -> list[Pair]:
    """The pairs of a file of comparisons, whose ranks are the known quality, or of a result of `mt-bench`."""
    if path.is_dir():
        from ziggurat.exam.judges.sitting import pairs_of_result

        return pairs_of_result(path)
    from ziggurat.corpus.load import load_comparisons
    from ziggurat.exam.judges.agreement import opinion, pairs_of, preferences
    from ziggurat.exam.judges.bias import with_quality
    from ziggurat.records import completion_messages

    said = []
    for record in load_comparisons(path).records:
        texts = [completion_messages(one)[-1].content for one in record.completions]
        one = opinion(record.labeller or "file", record.prompt, list(zip(texts, record.ranks, strict=True)))
        if one is not None:
            said.append(one)
    return with_quality(pairs_of(said), preferences(said))


def _open(name: str) -> AnyJudge:
    from ziggurat.exam.judges.naming import open_judge

    return open_judge(name)

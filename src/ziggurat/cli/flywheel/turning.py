"""`ziggurat flywheel turn` and `work`: from a dataset version to a candidate.

`turn` works on its job in this process, unless a server (or `ziggurat flywheel work`) has taken it; then it waits for
it, as `gate` does. With --no-wait both leave the job to whoever works.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.flywheel.common import (
    Channel,
    Files,
    NoWait,
    Settings,
    finish,
    opened,
    show,
)
from ziggurat.cli.store import Address
from ziggurat.console import err, out
from ziggurat.errors import UsageError

if TYPE_CHECKING:
    from ziggurat.product.principal import Principal
    from ziggurat.store.store import Store


def turn(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A dataset version (NAME/vN, or NAME: its newest); default: the newest."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Start from this model; default: the serving release.")
    ] = None,
    comparisons: Files = None,
    demonstrations: Files = None,
    ratings: Files = None,
    prompts: Files = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", help="Comparisons for the gate, with files instead of a version."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="rlhf, dpo, kto or sft; default: by how much there is.")
    ] = None,
    trainable: Annotated[str, typer.Option(help="lora, all, head or last:K.")] = "lora",
    budget: Annotated[
        str | None, typer.Option(help="Time for all phases, such as 15m; default: what the data ask for.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    canaries: Annotated[int, typer.Option(min=0, max=100, help="Canaries among what is learned.")] = 4,
    sets: Settings = None,
    name: Annotated[str | None, typer.Option(help="Of the turn; default: turn-N.")] = None,
    channel: Channel = "assistant",
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="TURN", help="Go on with a turn that stopped.")
    ] = None,
    no_wait: NoWait = False,
    store: Address = None,
    as_json: options.AsJson = False,
) -> None:
    """Learn from a dataset version: from the serving release's model to a candidate.

    Prints the turn's name. Settings name their stage: --set dpo.train.lr_adam=1e-4 --set sft.epochs=2.

    \b
    ziggurat flywheel turn --budget 15m
    ziggurat flywheel turn feedback/v3 --method dpo --set dpo.beta=0.2
    ziggurat flywheel turn --base smollm2 --comparisons ranked.jsonl --held-out held.jsonl
    ziggurat flywheel turn --resume turn-3
    """
    from ziggurat.flywheel.turn import turns

    with opened(store) as (opened_store, principal):
        if resume is not None:
            made = _resumed(opened_store, principal, resume)
        else:
            files = {
                "comparisons": comparisons or [],
                "demonstrations": demonstrations or [],
                "ratings": ratings or [],
                "prompts": prompts or [],
            }
            made = turns.start(
                opened_store,
                principal,
                dataset=dataset,
                files=files if any(files.values()) else None,
                held_out={"comparisons": held_out or []},
                base=base,
                channel=channel,
                name=name,
                method=method,
                trainable=trainable,
                budget_s=None if budget is None else _seconds(budget),
                seed=seed,
                canaries=canaries,
                settings=_by_stage(sets),
            )
            err.print(f"{made.name}: {made.recipe['rule']}", soft_wrap=True)
        if not no_wait:
            finish(opened_store, principal, str(made.job_id))
            made = turns.get(opened_store, principal.workspace_id, made.id)
    if as_json:
        show(turns.as_json(made))
    else:
        out.out(made.name)
        if made.candidate:
            err.print(
                f"candidate: {made.candidate}; next: ziggurat flywheel gate {made.name}", soft_wrap=True
            )


def _resumed(store: Store, principal: Principal, name: str) -> Any:
    """The turn, back in the queue if it had stopped for good."""
    from ziggurat.flywheel.turn import turns

    found = turns.get(store, principal.workspace_id, name)
    if found.state == "candidate":
        raise UsageError(f"{name} is finished; put it before the gate with `ziggurat flywheel gate {name}`.")
    return turns.resume(store, principal, name) if found.state in ("failed", "cancelled") else found


def _seconds(text: str) -> float:
    from ziggurat.ladder.plan import parse_budget

    return parse_budget(text)


def _by_stage(sets: list[str] | None) -> dict[str, dict[str, Any]]:
    from ziggurat.errors import did_you_mean
    from ziggurat.flywheel.turn.methods import WEIGHTS
    from ziggurat.settings import parse_sets

    found = parse_sets(sets or [])
    for stage, values in found.items():
        if stage not in WEIGHTS or not isinstance(values, dict):
            hint = did_you_mean(stage, WEIGHTS) or f" Stages are {', '.join(WEIGHTS)}."
            raise UsageError(
                f"--set {stage}...: a setting begins with its stage, such as dpo.beta=0.2.{hint}"
            )
    return found


def work(
    once: Annotated[bool, typer.Option("--once", help="Work on the jobs that wait, then end.")] = False,
    store: Address = None,
) -> None:
    """Work on turns and gates, until Ctrl-C. `ziggurat serve` does this as well.

    \b
    ziggurat flywheel work
    ziggurat flywheel work --once
    """
    from ziggurat.flywheel.work.worker import Worker

    with opened(store) as (opened_store, _):
        worker = Worker(opened_store)
        while worker.once() if once else True:
            if not once:
                worker.forever()


def cancel(
    what: Annotated[str, typer.Argument(metavar="TURN|GATE", help="A turn that waits or learns, or a gate.")],
    store: Address = None,
) -> None:
    """Stop a turn or a gate. A turn keeps what it saved (`flywheel turn --resume`); a gate is started anew.

    \b
    ziggurat flywheel cancel turn-3
    ziggurat flywheel cancel gate_01a22e7d
    """
    from ziggurat.flywheel.gate import gates
    from ziggurat.flywheel.turn import turns
    from ziggurat.flywheel.work.worker import BEAT_S

    with opened(store) as (opened_store, principal):
        if what.startswith("gate_"):
            stopped = gates.cancel(opened_store, principal, what)
            name, state = stopped.id, stopped.state
        else:
            turn = turns.cancel(opened_store, principal, what)
            name, state = turn.name, turn.state
    out.out(name)
    if state != "cancelled":
        err.print(f"{name} is asked to stop; whoever works on it looks within {BEAT_S:.0f} s.")

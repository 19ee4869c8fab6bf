"""`ziggurat flywheel gate` and `sign`: may a candidate serve?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.flywheel.common import (
    Channel,
    Note,
    NoWait,
    Settings,
    finish,
    gate_named,
    opened,
    show,
)
from ziggurat.cli.store import Address
from ziggurat.console import err, out, table

if TYPE_CHECKING:
    from ziggurat.flywheel.gate.gates import Gate


def gate(
    turn: Annotated[str | None, typer.Argument(help="The turn whose candidate is judged.")] = None,
    candidate: Annotated[str | None, typer.Option(help="A model instead of a turn.")] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(
            "--held-out",
            help="Comparisons to judge --candidate by; default: those that the newest dataset version holds out.",
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A YAML file with the gate's bars.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="A reward model, or module:function, where people's labels are few.")
    ] = None,
    text: Annotated[list[Path] | None, typer.Option(help="Held-out text; may be repeated.")] = None,
    sets: Settings = None,
    channel: Channel = "assistant",
    no_wait: NoWait = False,
    store: Address = None,
    as_json: options.AsJson = False,
) -> int:
    """Judge a candidate against the serving release. Exit status 0: passed; 1: refused or undecided.

    \b
    ziggurat flywheel gate turn-3
    ziggurat flywheel gate turn-3 --judge own/reward-1 --text held_out.txt
    ziggurat flywheel gate turn-3 --set win_rate=0.55 --set sign=policy
    """
    from ziggurat.flywheel.gate import gates
    from ziggurat.home import portable
    from ziggurat.settings import load_yaml, parse_sets

    bars: dict[str, Any] = load_yaml(policy) if policy is not None else {}
    bars |= {"judge": judge} if judge else {}
    bars |= {"text": [portable(path) for path in text]} if text else {}
    bars |= parse_sets(sets or [])
    with opened(store) as (opened_store, principal):
        made = gates.start(
            opened_store,
            principal,
            turn=turn,
            candidate=candidate,
            held_out={"comparisons": held_out} if held_out else None,
            channel=channel,
            policy=bars,
        )
        if not no_wait:
            finish(opened_store, principal, str(made.job_id))
            made = gates.get(opened_store, principal.workspace_id, made.id)
    if as_json:
        show(made.to_json())
    else:
        _print_gate(made)
    return 0 if no_wait or made.verdict == "passed" else 1


def _print_gate(gate: Gate) -> None:
    rows = [(one.name, _figure(one), one.verdict, one.sentence) for one in gate.criteria]
    if rows:
        out.print(table(None, ["criterion", "figure", "verdict", "why"], rows))
    out.out(f"{gate.id} {gate.verdict or gate.state}")
    if gate.verdict == "passed" and gate.signature is None:
        err.print(f"next: ziggurat flywheel promote {gate.id}")


def _figure(one: Any) -> str:
    if one.figure is None:
        return ""
    shown = f"{one.figure:.3g}"
    return shown if one.low is None else f"{shown} [{one.low:.3g}, {one.high:.3g}]"


def sign(
    gate: Annotated[str, typer.Argument(help="A gate that is passed, or the turn that passed it.")],
    name: Annotated[str | None, typer.Option(help="Of the release; default: CHANNEL-N.")] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Sign that the candidate never serves.")] = False,
    note: Note = "",
    store: Address = None,
) -> None:
    """Sign a gate: its candidate becomes a release, which does not serve yet.

    \b
    ziggurat flywheel sign turn-3 --note "Shorter, and still right."
    ziggurat flywheel sign turn-3 --refuse --note "Too blunt."
    """
    from ziggurat.flywheel.release import signing

    with opened(store) as (opened_store, principal):
        found = gate_named(opened_store, principal, gate)
        made = signing.sign(opened_store, principal, found, name=name, note=note, refuse=refuse)
    out.out(f"{found} refused" if made is None else made.name)

"""`ziggurat flywheel status` and `build`: what there is to learn from, and the next dataset version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.flywheel.common import (
    Settings,
    opened,
    show,
)
from ziggurat.cli.store import Address
from ziggurat.console import err, out, table

if TYPE_CHECKING:
    pass


def status(store: Address = None, as_json: options.AsJson = False) -> None:
    """The loop: judgements, dataset versions, turns, gates, releases, what serves, and what people say.

    \b
    ziggurat flywheel status
    ziggurat flywheel status --json
    """
    from ziggurat.flywheel.overview import overview

    with opened(store) as (opened_store, principal):
        found = overview(opened_store, principal)
    if as_json:
        show(found)
        return
    measured, waiting = found["measures"], found["datasets"]["waiting"] or {}
    rows = [
        (
            "judgements",
            ", ".join(f"{n:,} {kind}" for kind, n in found["feedback"]["kinds"].items()) or "none yet",
        ),
        ("waiting", f"{waiting.get('usable', 0):,} usable since the last dataset version"),
        ("datasets", ", ".join(one["ref"] for one in found["datasets"]["versions"][:5]) or "none yet"),
        *(
            ("turn", f"{one['name']}: {one['state']}, {one['recipe']['method']} on {one['dataset']}")
            for one in found["turns"][:5]
        ),
        *(
            ("gate", f"{one['id']}: {one['verdict'] or one['state']}. {one['sentence'] or ''}")
            for one in found["gates"][:3]
        ),
        *(("release", f"{one['name']} (parent {one['parent'] or 'none'})") for one in found["releases"][:5]),
        *((one["name"], _serves(one)) for one in found["channels"]),
        ("satisfied", _percent(measured["satisfaction"])),
        ("not understood", _per_100(measured["not_understood"])),
        ("approved unchanged", _percent(measured["approved_unchanged"])),
        ("came back", _percent(measured["retention"])),
    ]
    out.print(table(None, ["", ""], rows))


def _serves(channel: dict[str, Any]) -> str:
    beside = f", {channel['canary']} for {100 * channel['canary_share']:g} %" if channel["canary"] else ""
    back = f"; before: {channel['previous']}" if channel["previous"] else ""
    return f"{channel['release'] or 'nothing'} serves{beside}{back}"


def _percent(interval: dict[str, Any]) -> str:
    if not interval["n"]:
        return "no data yet"
    low, high = 100 * interval["low"], 100 * interval["high"]
    return f"{100 * interval['value']:.1f} % [{low:.1f}, {high:.1f}] of {interval['n']:,}"


def _per_100(interval: dict[str, Any]) -> str:
    """Of 100 answers, with the interval."""
    if not interval["n"]:
        return "no data yet"
    low, high = interval["low"], interval["high"]
    return f"{interval['value']:.1f} of 100 answers [{low:.1f}, {high:.1f}], of {interval['n']:,}"


def build(
    name: Annotated[str, typer.Option("--name", help="Of the data set.")] = "feedback",
    sets: Settings = None,
    store: Address = None,
    as_json: options.AsJson = False,
) -> None:
    """Freeze what people judged into the next dataset version, with its card.

    \b
    ziggurat flywheel build
    ziggurat flywheel build --name support --set person_cap=100
    """
    from ziggurat.flywheel.dataset import building
    from ziggurat.settings import parse_sets

    with opened(store) as (opened_store, principal):
        made = building.build(opened_store, principal, name, settings=parse_sets(sets or []))
    if as_json:
        show(made.model_dump())
        return
    out.out(made.ref)
    same = " Nothing has changed since." if made.unchanged else ""
    err.print(f"{made.path}, SHA-256 {made.sha256[:16]}.{same}", soft_wrap=True)

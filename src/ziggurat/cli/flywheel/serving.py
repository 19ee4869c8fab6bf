"""`ziggurat flywheel promote`, `rollback`, `test` and `explain`: what serves, to whom, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ziggurat.cli import options
from ziggurat.cli.flywheel.common import (
    Channel,
    Note,
    gate_named,
    opened,
    show,
)
from ziggurat.cli.store import Address
from ziggurat.console import err, out
from ziggurat.errors import UsageError

if TYPE_CHECKING:
    pass


def promote(
    what: Annotated[
        str | None, typer.Argument(help="A release; or a gate or turn that passed, which is signed first.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--from", help="Make the first release from this model: a run or a model's name."),
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Serve this share of the people only: a canary.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of a new release; default: CHANNEL-N.")] = None,
    note: Note = "",
    channel: Channel = "assistant",
    store: Address = None,
) -> None:
    """Let a release serve. A running server sees it within a second.

    \b
    ziggurat flywheel promote --from smollm2             # the first release, of a model that you have
    ziggurat flywheel promote turn-3 --share 0.1         # signs, then serves a tenth of the people
    ziggurat flywheel promote assistant-4
    """
    from ziggurat.flywheel.release import channel as channels_
    from ziggurat.flywheel.release import releases, signing
    from ziggurat.product.errors import NotFound

    if (what is None) == (model is None):
        raise UsageError("name a release, a gate or a turn, or give --from MODEL for the first release.")
    with opened(store) as (opened_store, principal):
        if model is not None:
            made = signing.first(opened_store, principal, model, name=name, note=note)
        else:
            try:
                made = releases.get(opened_store, principal.workspace_id, str(what))
            except NotFound:
                gate_id = gate_named(opened_store, principal, str(what))
                signed = signing.sign(opened_store, principal, gate_id, name=name, note=note)
                assert signed is not None
                made = signed
        now = channels_.promote(opened_store, principal, made.name, name=channel, share=share, note=note)
    shown = f" for {100 * now.canary_share:g} % of the people" if now.canary_id else ""
    out.out(made.name)
    err.print(f"{made.name} serves on {now.name}{shown}.")


def rollback(note: Note = "", channel: Channel = "assistant", store: Address = None) -> None:
    """Take a canary away, or let the release before serve again.

    \b
    ziggurat flywheel rollback --note "Customers complain."
    """
    from ziggurat.flywheel.release import channel as channels_
    from ziggurat.flywheel.release import releases

    with opened(store) as (opened_store, principal):
        now = channels_.rollback(opened_store, principal, name=channel, note=note)
        assert now.release_id is not None
        serving = releases.get(opened_store, principal.workspace_id, now.release_id)
    out.out(serving.name)


def online_test(
    treatment: Annotated[
        str, typer.Argument(metavar="RELEASE", help="The release to try beside the serving one.")
    ],
    share: Annotated[float, typer.Option(help="Of the people who get it.")] = 0.5,
    horizon: Annotated[int, typer.Option(help="People who have judged an answer when the test ends.")] = 200,
    alpha: Annotated[float, typer.Option(help="Error rate of the stop for harm.")] = 0.05,
    channel: Channel = "assistant",
    store: Address = None,
) -> None:
    """Start an online test: two releases, people split once and for all, a horizon that is fixed now.

    \b
    ziggurat flywheel test assistant-4 --share 0.5 --horizon 200
    """
    from ziggurat.flywheel.release import online

    with opened(store) as (opened_store, principal):
        made = online.start(
            opened_store, principal, treatment, channel=channel, share=share, horizon=horizon, alpha=alpha
        )
    out.out(made.id)


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RELEASE|ANSWER", help="A release, or the id of an answer (a message, or of the API)."
        ),
    ],
    store: Address = None,
    as_json: options.AsJson = False,
) -> None:
    """Where a release or an answer comes from: parents, data, what of it is withdrawn, gate, signer.

    \b
    ziggurat flywheel explain assistant-4
    ziggurat flywheel explain msg_01a2...
    """
    from ziggurat.flywheel import explain as explaining
    from ziggurat.flywheel.overview import release_json
    from ziggurat.flywheel.release import releases

    with opened(store) as (opened_store, principal):
        if what not in {one.name for one in releases.listed(opened_store, principal.workspace_id)}:
            answer = explaining.explain(opened_store, principal, what)
            if as_json or answer["release"] is None:
                show(answer)
                return
            what = str(answer["release"]["name"])
            err.print(f"{what} wrote it.")
        chain = releases.lineage(opened_store, principal.workspace_id, what)
        names = {one.id: one.name for one in chain}
        shown = [release_json(opened_store, one, names) for one in chain]
    if as_json:
        show({"release": shown[0]["name"], "lineage": shown})
        return
    for one in shown:
        data = ", ".join(str(each["name"]) for each in one["datasets"][:1]) or "no data of this house"
        out.print(f"{one['name']}  from {one['parent'] or 'outside'}, learned from {data}", soft_wrap=True)
        scores = ", ".join(
            f"{n} {s['figure']:.3g}" for n, s in one["scores"].items() if s["figure"] is not None
        )
        signer = "the policy" if one["signer"] is None else one["signer"] or "the owner"
        out.print(
            f"  {scores or 'not judged by a gate'}; signed by {signer}; code {one['code']}", soft_wrap=True
        )

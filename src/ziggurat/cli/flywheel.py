"""`ziggurat flywheel`: judgements become a dataset version, a turn, a gate, a release; and back.

`turn` and `gate` work on their job in this process, unless a server (or `ziggurat flywheel work`) has taken it; then
they wait for it. With --no-wait they leave the job to whoever works.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.cli.store import Address, _open
from ziggurat.console import err, out, table
from ziggurat.errors import RunError, UsageError
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.flywheel.gate import Gate
    from ziggurat.product.principal import Principal
    from ziggurat.store.store import Store

app = typer.Typer(
    help="Turn people's judgements into the next release: build, turn, gate, sign, promote, roll back.",
    no_args_is_help=True,
)

Channel = Annotated[str, typer.Option("--channel", help="The model name that people see.")]
Note = Annotated[str, typer.Option("--note", help="A remark that is kept.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave the job to `ziggurat serve` or `flywheel work`.")
]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, NAME=VALUE; may be repeated.")]
Files = Annotated[
    list[Path] | None, typer.Option(help="Files instead of a dataset version; may be repeated.")
]
WAIT_S = 0.5


@contextmanager
def opened(address: str | None) -> Iterator[tuple[Store, Principal]]:
    """The store, and the owner of this installation, in whose name commands act."""
    from ziggurat.product import people

    store = _open(address)
    try:
        yield store, people.local_principal(store)
    finally:
        store.close()


def show(value: Any) -> None:
    typer.echo(to_json(value, indent=2))


@app.command()
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
        ("not understood", f"{_number(measured['not_understood']['value'])} of 100 answers"),
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


def _number(value: float | None) -> str:
    return "no data:" if value is None else f"{value:.1f}"


@app.command()
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
    from ziggurat.flywheel import dataset
    from ziggurat.settings import parse_sets

    with opened(store) as (opened_store, principal):
        made = dataset.build(opened_store, principal, name, settings=parse_sets(sets or []))
    if as_json:
        show(made.model_dump())
        return
    out.out(made.ref)
    same = " Nothing has changed since." if made.unchanged else ""
    err.print(f"{made.path}, SHA-256 {made.sha256[:16]}.{same}", soft_wrap=True)


@app.command()
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
    from ziggurat.flywheel import turn as turns

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
            _finish(opened_store, principal, str(made.job_id))
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
    from ziggurat.flywheel import turn as turns

    found = turns.get(store, principal.workspace_id, name)
    if found.state == "candidate":
        raise UsageError(f"{name} is finished; put it before the gate with `ziggurat flywheel gate {name}`.")
    return turns.resume(store, principal, name) if found.state in ("failed", "cancelled") else found


def _seconds(text: str) -> float:
    from ziggurat.ladder.plan import parse_budget

    return parse_budget(text)


def _by_stage(sets: list[str] | None) -> dict[str, dict[str, Any]]:
    from ziggurat.errors import did_you_mean
    from ziggurat.flywheel.methods import WEIGHTS
    from ziggurat.settings import parse_sets

    found = parse_sets(sets or [])
    for stage, values in found.items():
        if stage not in WEIGHTS or not isinstance(values, dict):
            hint = did_you_mean(stage, WEIGHTS) or f" Stages are {', '.join(WEIGHTS)}."
            raise UsageError(
                f"--set {stage}...: a setting begins with its stage, such as dpo.beta=0.2.{hint}"
            )
    return found


def _finish(store: Store, principal: Principal, job_id: str) -> None:
    """Work until the job has ended, or wait for whoever works on it. RunError with its sentence where it failed."""
    from ziggurat.flywheel import jobs
    from ziggurat.flywheel.jobs import Worker

    worker, last = Worker(store), ""
    try:
        while True:
            for event in jobs.events(store, job_id, after=last):
                err.print(event.message, soft_wrap=True)
                last = event.id
            job = jobs.get(store, principal.workspace_id, job_id)
            if job.state in jobs.ENDED:
                break
            if not worker.once():
                time.sleep(WAIT_S)
    except KeyboardInterrupt:
        worker.end()
        raise
    if job.state != "done":
        raise RunError(f"the job is {job.state}: {job.last_error or 'somebody asked it to end.'}")


@app.command()
def gate(
    turn: Annotated[str | None, typer.Argument(help="The turn whose candidate is judged.")] = None,
    candidate: Annotated[str | None, typer.Option(help="A model instead of a turn.")] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option("--held-out", help="Comparisons to judge --candidate by.")
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
    from ziggurat.flywheel import gate as gates
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
            _finish(opened_store, principal, str(made.job_id))
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


@app.command()
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
    from ziggurat.flywheel import release

    with opened(store) as (opened_store, principal):
        found = _gate_named(opened_store, principal, gate)
        made = release.sign(opened_store, principal, found, name=name, note=note, refuse=refuse)
    out.out(f"{found} refused" if made is None else made.name)


def _gate_named(store: Store, principal: Principal, name: str) -> str:
    from ziggurat.flywheel import gate as gates

    return name if name.startswith("gate_") else gates.of_turn(store, principal.workspace_id, name).id


@app.command()
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
    from ziggurat.flywheel import channel as channels_
    from ziggurat.flywheel import release
    from ziggurat.product.errors import NotFound

    if (what is None) == (model is None):
        raise UsageError("name a release, a gate or a turn, or give --from MODEL for the first release.")
    with opened(store) as (opened_store, principal):
        if model is not None:
            made = release.first(opened_store, principal, model, name=name, note=note)
        else:
            try:
                made = release.get(opened_store, principal.workspace_id, str(what))
            except NotFound:
                gate_id = _gate_named(opened_store, principal, str(what))
                signed = release.sign(opened_store, principal, gate_id, name=name, note=note)
                assert signed is not None
                made = signed
        now = channels_.promote(opened_store, principal, made.name, name=channel, share=share, note=note)
    shown = f" for {100 * now.canary_share:g} % of the people" if now.canary_id else ""
    out.out(made.name)
    err.print(f"{made.name} serves on {now.name}{shown}.")


@app.command()
def rollback(note: Note = "", channel: Channel = "assistant", store: Address = None) -> None:
    """Take a canary away, or let the release before serve again.

    \b
    ziggurat flywheel rollback --note "Customers complain."
    """
    from ziggurat.flywheel import channel as channels_
    from ziggurat.flywheel import release

    with opened(store) as (opened_store, principal):
        now = channels_.rollback(opened_store, principal, name=channel, note=note)
        assert now.release_id is not None
        serving = release.get(opened_store, principal.workspace_id, now.release_id)
    out.out(serving.name)


@app.command("test")
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
    from ziggurat.flywheel import online

    with opened(store) as (opened_store, principal):
        made = online.start(
            opened_store, principal, treatment, channel=channel, share=share, horizon=horizon, alpha=alpha
        )
    out.out(made.id)


@app.command()
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
    from ziggurat.flywheel import release
    from ziggurat.flywheel.overview import release_json

    with opened(store) as (opened_store, principal):
        if what not in {one.name for one in release.listed(opened_store, principal.workspace_id)}:
            answer = explaining.explain(opened_store, principal, what)
            if as_json or answer["release"] is None:
                show(answer)
                return
            what = str(answer["release"]["name"])
            err.print(f"{what} wrote it.")
        chain = release.lineage(opened_store, principal.workspace_id, what)
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


@app.command()
def work(
    once: Annotated[bool, typer.Option("--once", help="Work on the jobs that wait, then end.")] = False,
    store: Address = None,
) -> None:
    """Work on turns and gates, until Ctrl-C. `ziggurat serve` does this as well.

    \b
    ziggurat flywheel work
    ziggurat flywheel work --once
    """
    from ziggurat.flywheel.jobs import Worker

    with opened(store) as (opened_store, _):
        worker = Worker(opened_store)
        while worker.once() if once else True:
            if not once:
                worker.forever()

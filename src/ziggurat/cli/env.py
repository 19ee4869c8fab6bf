"""`ziggurat env`: versions and hardware for a bug report; with --measure, the speed of this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import human_time, out, table
from ziggurat.files import to_json
from ziggurat.home import ziggurat_home
from ziggurat.lineage import code_version, installed_version, machine
from ziggurat.version import __version__

PACKAGES = (
    "torch",
    "numpy",
    "tokenizers",
    "safetensors",
    "pydantic",
    "typer",
    "fastapi",
    "uvicorn",
    "transformers",
)


def env(
    measure: Annotated[bool, typer.Option("--measure", help="Time this machine (a few seconds).")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print versions, hardware, and the number format that training will use here, with the reason.

    \b
    ziggurat env
    ziggurat env --measure
    ziggurat env --json
    """
    facts = gather()
    if measure:
        facts["measured"] = measured()
    if as_json:
        typer.echo(to_json(facts, indent=2))
        return
    rows = [(key.replace("_", " "), value) for key, value in facts.items() if not isinstance(value, dict)]
    rows += list(facts["packages"].items())
    for key, value in (facts.get("measured") or {}).items():
        rows.append((key, human_time(value) if key.endswith("_s") and "per" not in key else f"{value:,.1f}"))
    out.print(table(None, ["", ""], rows))


def gather() -> dict[str, Any]:
    """Versions and hardware."""
    import torch

    from ziggurat.training.precision import choose_dtype

    here = machine()
    dtype, reason = choose_dtype("auto")
    code = code_version()
    return {
        "ziggurat": __version__,
        "commit": f"{code['commit']}{' (changed)' if code['dirty'] else ''}" if code["commit"] else None,
        "python": here["python"],
        "system": here["system"],
        "cpu": here["cpu"],
        "cores": here["cores"],
        "memory_gib": here["memory_gib"],
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch_threads": torch.get_num_threads(),
        "dtype": f"{str(dtype).removeprefix('torch.')} ({reason})",
        "home": str(ziggurat_home()),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }


def measured() -> dict[str, float]:
    """Matrix products in both precisions, memory bandwidth, and the time of the ladder's reference plan here."""
    from ziggurat.town.world import reference_cost
    from ziggurat.training.precision import measure_machine

    speed = measure_machine()
    found = {"gflops_fp32": speed.gflops_fp32, "gflops_bf16": speed.gflops_bf16, "gb_per_s": speed.gb_per_s}
    seconds, tokens_per_s = reference_cost()
    return {**found, "training_tokens_per_s": tokens_per_s, "ladder_fixed_plan_s": seconds}

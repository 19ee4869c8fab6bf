"""The declaration of stages: one from outside joins commands, recipes and listings; old settings are translated."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ziggurat import extensions
from ziggurat.cli import main as cli
from ziggurat.cli import stages
from ziggurat.errors import ConfigError
from ziggurat.service.models import library
from ziggurat.settings import Resolved, resolve
from ziggurat.stages import launch, stage
from ziggurat.stages.align import AlignConfig
from ziggurat.stages.catalog import BUILT_IN, OTHER_COMMANDS
from ziggurat.stages.ppo_config import PPOConfig
from ziggurat.stages.pretrain_config import PretrainConfig
from ziggurat.stages.reward_config import RewardConfig
from ziggurat.stages.sft_config import SftConfig
from ziggurat.stages.stage import Input, Model, Stage, declared

OUTSIDE = Stage(
    name="echo",
    title="Repeat what is said.",
    help="Repeat.\n\n    \b\n    ziggurat echo --base own/sft --data d.jsonl\n    ",
    configure="tests.stages.test_stage:configure",
    prepare="tests.stages.test_stage:prepare",
    run="tests.stages.test_stage:run",
    models=(Model("base", ("--base",), "The model to start from."),),
    inputs=(Input("demonstrations", "demonstrations"),),
)
calls: list[Any] = []


def configure(base: str, *layers: tuple[str, Any]) -> Resolved[RewardConfig]:
    return resolve(RewardConfig, *layers)


def run(resolved: Any, base: str, records: list[Any], path: Path, **named: Any) -> Path:
    calls.append((resolved.config.epochs, base, len(records), named["data"][0]["role"]))
    return path


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package with the entry point `echo` is installed."""

    def install(value: str, name: str = "echo") -> None:
        point = EntryPoint(name, value, stage.GROUP)
        monkeypatch.setattr(extensions, "entry_points", lambda group: [point] if group == stage.GROUP else [])
        declared.cache_clear()

    yield install
    monkeypatch.undo()
    declared.cache_clear()


def test_a_stage_from_another_package_has_a_command_a_recipe_section_and_a_place_in_the_ladder(
    outside: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside("tests.stages.test_stage:OUTSIDE")
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    assert re.search(r"^  echo +Repeat what is said\.$", cli.overview(), re.MULTILINE)
    (tmp_path / "d.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    (tmp_path / "r.yaml").write_text("echo: {epochs: 3}\nsft: {epochs: 7}\n")
    (tmp_path / "base").mkdir()
    base, data, recipe = (str(tmp_path / name) for name in ("base", "d.jsonl", "r.yaml"))
    assert cli.run(["echo", "--base", base, "--data", data, "--recipe", recipe]) == 0
    assert [(e, str(b), n, r) for e, b, n, r in calls] == [(3.0, base, 1, "data")]
    model = tmp_path / "runs" / "own" / "echo-1" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    assert library.expand(["own"]) == ["own/echo-1"]
    assert cli.run(["echo", "--data", data]) == 2  # "needs --base RUN"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("tests.stages.test_stage:configure", "names a function, not a Stage"),
        ("tests.stages.test_stage:nothing", "cannot be imported (AttributeError"),
        ("no_such_package:STAGE", "cannot be imported (ModuleNotFoundError"),
        ("ziggurat.stages.catalog:SFT", 'names a stage "sft"; both names must be the same'),
    ],
)
def test_a_broken_entry_point_is_one_sentence_that_names_its_package_and_stops_no_other_command(
    outside: Any, capsys: pytest.CaptureFixture[str], value: str, sentence: str
) -> None:
    outside(value)
    assert list(declared()) == [stage.name for stage in BUILT_IN]
    printed = " ".join(capsys.readouterr().err.split())
    assert sentence in printed
    assert f'The package "{value.partition(":")[0]}" brings the entry point "echo' in printed
    assert cli.run(["--help"]) == 0
    assert cli.run(["echo"]) == 2
    assert 'There is no command "echo".' in capsys.readouterr().err


@pytest.mark.parametrize("name", ["chat", "help", "sft"])
def test_a_stage_with_the_name_of_a_command_is_refused_aloud(
    outside: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The command hid it without a word."""
    monkeypatch.setitem(globals(), "TAKEN", replace(OUTSIDE, name=name))
    outside("tests.stages.test_stage:TAKEN", name)
    assert list(declared()) == [stage.name for stage in BUILT_IN]
    printed = " ".join(capsys.readouterr().err.split())
    assert f'brings the entry point "{name} = tests.stages.test_stage:TAKEN"' in printed
    assert "which has the name of" in printed
    assert "Repeat what is said." not in cli.overview()


def test_the_declaration_is_what_the_commands_show() -> None:
    assert set(cli.COMMANDS) | {"help"} == {one.name for one in BUILT_IN} | OTHER_COMMANDS
    assert list(declared()) == [stage.name for stage in BUILT_IN]
    assert all(cli.COMMANDS[name].help == one.title for name, one in declared().items())
    assert all(callable(getattr(stages, name)) for name in declared())
    assert launch._section({"sft": {"epochs": 2}}, "ppo") == {}


def test_reading_the_declarations_imports_no_torch() -> None:
    code = "import sys; from ziggurat.stages.stage import declared; declared(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("config", "before", "now"),
    [
        (PPOConfig, {"steps": 7, "seed": 3, "threads": 1, "dtype": "fp32"}, {"steps": 7, "seed": 3}),
        (PPOConfig, {"check_every_steps": 5}, {"eval_every_steps": 5, "checkpoint_every_steps": 5}),
        (PPOConfig, {"warmup_steps": 2, "grad_clip": 0.5}, {"warmup_steps": 2, "grad_clip": 0.5}),
        (RewardConfig, {"body_learns": False}, {"trainable": "head"}),
        (RewardConfig, {"body_learns": True}, {"trainable": "all"}),
    ],
)
def test_settings_of_earlier_versions_are_translated_and_say_so(
    config: type[Any], before: dict[str, Any], now: dict[str, Any]
) -> None:
    resolved = resolve(config, ("--set", before))
    train = resolved.config.train.model_dump()
    assert {name: train[name] for name in now} == now
    assert resolved.source(f"train.{next(iter(now))}").startswith("--set, as ")


def test_what_learned_in_ppo_before_is_translated_also_inside_the_rounds() -> None:
    before = {"policy": {"unfrozen_blocks": 2}, "critic": {"body_learns": False}, "steps": 4}
    resolved = resolve(AlignConfig, ("the run", {"ppo": before}))
    ppo = resolved.config.ppo
    assert (ppo.policy.trainable, ppo.critic.trainable, ppo.train.steps) == ("last:2", "head", 4)
    assert resolved.source("ppo.policy.trainable") == "the run, as ppo.policy.unfrozen_blocks"
    assert resolve(PPOConfig, ("x", {"policy": {"unfrozen_blocks": 0}})).config.policy.trainable == "all"


@pytest.mark.parametrize("config", [PretrainConfig, SftConfig])
@pytest.mark.parametrize(("blocks", "said"), [(4, True), (0, False)])
def test_an_early_exit_of_an_old_recipe_is_left_out_and_said(
    config: type[Any], blocks: int, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = resolve(config, ("recipe town", {"early_exit": {"blocks": blocks}, "batch_tokens": 64}))
    assert resolved.config.batch_tokens == 64
    assert ("early_exit is no longer computed" in " ".join(capsys.readouterr().err.split())) is said


@pytest.mark.parametrize("value", ["last", "last:0", "blocks", "last:-1"])
def test_a_trainable_that_does_not_exist_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r'Setting "policy.trainable"'):
        resolve(PPOConfig, ("--set", {"policy": {"trainable": value}}))


def test_ppo_refuses_loop_settings_that_it_cannot_keep() -> None:
    with pytest.raises(ConfigError, match="the doctor needs every row"):
        resolve(PPOConfig, ("--set", {"train": {"log_every_steps": 2}}))

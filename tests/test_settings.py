"""Layers, sources, suggestions, and YAML without its traps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import Field, ValidationError

from ziggurat.errors import ConfigError
from ziggurat.home import ziggurat_home
from ziggurat.settings import (
    Config,
    environment_sets,
    flatten,
    load_yaml,
    parse_sets,
    parse_settings,
    resolve,
)


class Train(Config):
    steps: int = Field(default=100, gt=0)
    lr: float = 1e-3
    note: str = "plain # not a comment"


class Stage(Config):
    train: Train = Train(steps=50)
    model: Train | str = "preset"
    widths: list[int] = [1, 2]
    limit: float | None = None


class Needy(Config):
    name: str
    train: Train


def test_later_layers_win_and_every_value_knows_its_layer() -> None:
    resolved = resolve(
        Stage,
        ("inherited", {"train": {"steps": 7, "lr": 0.5}}),
        ("recipe", {"train": {"steps": 8}}),
        ("--set", {"limit": 2}),
    )
    assert resolved.config.train == Train(steps=8, lr=0.5)
    assert resolved.source("train.steps") == "recipe"
    assert resolved.source("train.lr") == "inherited"
    assert resolved.source("limit") == "--set"
    assert resolved.source("widths") == "default"


def test_the_default_of_a_nested_config_is_the_fields_own_not_the_classs() -> None:
    assert resolve(Stage, ("--set", {"train": {"lr": 1}})).config.train.steps == 50


def test_a_name_may_be_replaced_by_a_mapping_and_back() -> None:
    spelled = resolve(Stage, ("recipe", {"model": {"steps": 3}}))
    assert spelled.config.model == Train(steps=3)
    named = resolve(Stage, ("recipe", {"model": {"steps": 3}}), ("--set", {"model": "small"}))
    assert named.config.model == "small"
    assert named.sources == {"model": "--set"}


def test_unknown_keys_are_refused_with_a_suggestion_and_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Stage, ("recipe.yaml", {"train": {"stepz": 1, "lr": "fast"}, "widhts": []}))
    message = str(caught.value)
    assert 'Unknown setting "train.stepz" (from recipe.yaml). Did you mean "steps"?' in message
    assert 'Did you mean "widths"?' in message
    assert "\"train.lr\"='fast' (from recipe.yaml)" in message


def test_a_value_out_of_range_names_the_setting_the_value_and_its_layer() -> None:
    with pytest.raises(
        ConfigError, match=r'Setting "train.steps"=0 \(from --set\): input should be greater than 0.'
    ):
        resolve(Stage, ("--set", {"train": {"steps": 0}}))


def test_a_missing_setting_is_named_with_the_way_to_give_it() -> None:
    with pytest.raises(ConfigError, match='Setting "name" is required; give it with --set name='):
        resolve(Needy)
    assert resolve(Needy, ("--set", {"name": "x"})).config.train == Train()


def test_a_resolved_configuration_survives_yaml() -> None:
    """Read back by PyYAML's own loader too: other people's tools must see the same values (1e-5 as a number)."""
    resolved = resolve(
        Stage, ("recipe", {"train": {"lr": 1e-5, "note": "a\nb: 'c' 茶 # d"}, "model": {"note": "no"}})
    )
    text = resolved.to_yaml()
    version, *lines = text.splitlines()
    assert version == "format_version: 1"
    assert Stage(**parse_settings(text, "config.yaml")) == resolved.config
    others = yaml.safe_load(text)
    assert others.pop("format_version") == 1
    assert Stage(**others) == resolved.config
    line = next(line for line in lines if "lr:" in line)
    assert line.endswith("# recipe")
    assert all("  # " in line or line.endswith(":") for line in lines)


def test_sets_are_typed_by_yaml_without_its_traps() -> None:
    assert parse_sets(["a.b=3", "a.c=1e-4", "d=no", "e=true", "f=[1, 2]", "g=", "h=a=b"]) == {
        "a": {"b": 3, "c": 1e-4},
        "d": "no",  # plain YAML 1.1 reads False
        "e": True,
        "f": [1, 2],
        "g": None,
        "h": "a=b",
    }


@pytest.mark.parametrize("bad", ["steps", "=3", "a..b=1", "a=[1"])
def test_a_set_that_is_no_assignment_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_sets([bad])


def test_the_environment_layer_is_written_like_sets() -> None:
    assert environment_sets({"ZIGGURAT_SET": "train.steps=3 train.note='a b'"}) == {
        "train": {"steps": 3, "note": "a b"}
    }
    assert environment_sets({}) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1\nb: 2\n", "line 2"),
        ("a: 1\na: 2\n", "line 2: not valid YAML .the key 'a' is given twice"),
        ("- 1", "list"),
    ],
)
def test_a_broken_yaml_file_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"recipe\.yaml.*{says}"):
        load_yaml(path)


def test_a_missing_yaml_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_yaml(tmp_path / "none.yaml")


def test_configs_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Train().steps = 3  # type: ignore[misc]


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_home_is_the_environments_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIGGURAT_HOME", "~/elsewhere")
    assert ziggurat_home() == Path.home() / "elsewhere"
    monkeypatch.delenv("ZIGGURAT_HOME")
    assert ziggurat_home() == Path.home() / ".ziggurat"

"""The public API: names and signatures are kept, every function is documented, importing costs nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ziggurat
from ziggurat import api
from ziggurat.errors import DataError, UsageError
from ziggurat.records import Prompt
from ziggurat.settings import load_yaml
from ziggurat.stages.stage import declared

KEPT = Path(__file__).with_name("signatures.txt")
ERRORS = ("Raises", "As `complete`")
NO_ERRORS = {"available_stages", "available_worlds", "available_families", "available_formats"}


def public() -> dict[str, Any]:
    return {name: getattr(ziggurat, name) for name in ziggurat.__all__ if name != "__version__"}


def signatures() -> str:
    """One line a name: the signature as it is written."""
    lines = []
    for name, one in sorted(public().items()):
        if inspect.isfunction(one):
            lines.append(f"{name}{inspect.signature(one)}")
            continue
        fields = getattr(one, "__annotations__", {})
        lines.append(f"{name}: {', '.join(f'{key}: {kind_of(kind)}' for key, kind in fields.items())}")
        methods = inspect.getmembers(one, inspect.isfunction) if one is not ziggurat.RunOptions else []
        lines += [f"{name}.{key}{inspect.signature(m)}" for key, m in methods if not key.startswith("_")]
    return "\n".join(lines) + "\n"


def kind_of(annotation: Any) -> str:
    return annotation.__forward_arg__ if hasattr(annotation, "__forward_arg__") else str(annotation)


def test_names_and_signatures_are_those_that_were_published() -> None:
    """A change here breaks programs of other people: add, and change this file only with the version."""
    assert signatures() == KEPT.read_text(encoding="utf-8")


def test_every_public_function_is_documented_with_its_errors() -> None:
    for name, one in public().items():
        assert inspect.getdoc(one), name
        if inspect.isfunction(one) and name not in NO_ERRORS:
            assert "Raises " in inspect.getdoc(one), name


def test_importing_the_package_or_its_api_imports_no_torch() -> None:
    code = (
        "import sys, ziggurat; light = 'ziggurat.api' not in sys.modules; ziggurat.sft; ziggurat.ChatModel\n"
        "ziggurat.available_stages(); print(light, 'ziggurat.api' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


def test_every_built_in_stage_has_a_function_with_its_models_and_inputs() -> None:
    renamed = {"ptx_documents": "text"}
    for name, stage in declared().items():
        taken = set(inspect.signature(getattr(api, name)).parameters)
        wanted = {model.argument for model in stage.models}
        wanted |= {renamed.get(item.argument, item.argument) for item in stage.inputs[1:]}
        assert wanted <= taken, name


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ziggurat.run_stage("sftt"), 'There is no stage "sftt". Did you mean "sft"?'),
        (
            lambda: ziggurat.run_stage("sft", [], {"bsae": "x"}),
            'sft has no model "bsae". Did you mean "base"?',
        ),
        (lambda: ziggurat.run_stage("sft", [], inputs={"txet": "x"}), 'sft has no input "txet"'),
        (lambda: ziggurat.sft([], base="x", ouput="y"), 'sft has no option "ouput". Did you mean "out"?'),  # type: ignore[call-arg]
        (lambda: ziggurat.run_stage("sft", gold="x"), "has no gold check; leave out gold"),
        (lambda: ziggurat.sft("talks.jsonl"), "needs --base RUN (base= in Python)"),
        (lambda: ziggurat.evaluate("x"), "needs text or demonstrations"),
        (lambda: ziggurat.sample("x", [], out=__file__), "is there already; name another file"),
        (lambda: ziggurat.climb("nowhere"), "is neither a folder nor a known world; known are town, verse"),
        (lambda: ziggurat.climb(budget="soon"), "'soon' is not a time"),
    ],
)
def test_a_wrong_argument_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert sentence in str(caught.value)


def test_files_are_read_as_the_command_reads_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        ziggurat.pretrain(tmp_path / "nowhere.txt")
    with pytest.raises(UsageError, match="holds records and a PosixPath; give either files or records"):
        ziggurat.pretrain([tmp_path / "a.txt", Prompt(prompt=[{"role": "user", "content": "a"}])])  # type: ignore[list-item]


def test_settings_may_be_dotted_or_nested_and_are_stronger_than_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The canal was dug by hand. " * 200)
    (tmp_path / "recipe.yaml").write_text(
        "pretrain: {model: tiny, tokenizer: 300, context: 32, batch_tokens: 64, train: {steps: 9, seed: 5}}\n"
    )
    settings = {"train.steps": 1, "train": {"threads": 1}, "context": 16}
    run = ziggurat.pretrain(
        str(tmp_path / "text.txt"), recipe=tmp_path / "recipe.yaml", settings=settings, out=tmp_path / "run"
    )
    assert run == tmp_path / "run"
    config = load_yaml(run / "config.yaml")
    assert [config["train"][key] for key in ("steps", "threads", "seed")] == [1, 1, 5]
    assert config["context"] == 16
    with pytest.raises(UsageError, match="A message is not valid"):
        ziggurat.chat(run).complete([{"role": "user"}])
    assert isinstance(ziggurat.chat(run).complete("The", max_tokens=2, temperature=0), str)

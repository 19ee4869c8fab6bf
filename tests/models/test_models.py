"""`ziggurat models`: import, export, list, show, rm by the command, and names that stand wherever a run can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.needs import needs

from ziggurat.cards import read_card
from ziggurat.cli.main import run
from ziggurat.errors import RunError
from ziggurat.model.accounting import active_matrix_parameters
from ziggurat.model.config import ExpertsConfig
from ziggurat.model.hub import load_model, save_model
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer
from ziggurat.places import find_run, model_folder
from ziggurat.tokenizer.bpe import Tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "tiny-model"
    tokenizer = Tokenizer.train(["a b c 1984 是"] * 9, 300)
    save_model(Transformer(OURS["tiny"].model_copy(update={"vocab_size": 300})), target, tokenizer)
    (target / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (target / "training_args.bin").write_bytes(b"a pickle")
    return target


def test_an_imported_folder_is_a_model_by_name(
    folder: Path, ziggurat_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "import", str(folder), "--name", "mine"]) == 0
    home = ziggurat_home / "models" / "mine"
    assert find_run("mine") == model_folder("mine") == home
    card = read_card(home)
    assert card is not None
    assert (card.licence, card.left_out) == ("apache-2.0", ("training_args.bin",))
    capsys.readouterr()
    assert run(["models", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["name"] == "mine"
    assert run(["models", "show", "mine", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["chat_template"]
    assert shown["context"] == OURS["tiny"].context
    assert run(["models", "show", "mine"]) == 0
    assert "apache-2.0" in capsys.readouterr().out
    assert run(["generate", "mine", "hello", "--max-tokens", "3"]) == 0
    assert run(["models", "rm", "mine", "--yes"]) == 0
    assert not home.exists()


def test_a_mixture_of_experts_by_the_commands(
    ziggurat_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported, shown with what of it a token passes, planned, trained by LoRA (balance and all), asked."""
    experts = ExpertsConfig(count=4, active=1, d_ff=48)
    shape = OURS["tiny"].model_copy(update={"vocab_size": 300, "experts": experts})
    save_model(Transformer(shape), tmp_path / "moe", Tokenizer.train(["a b c 1984"] * 9, 300))
    assert run(["models", "import", str(tmp_path / "moe"), "--name", "moe"]) == 0
    capsys.readouterr()
    assert run(["models", "show", "moe", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model_type"] == "qwen3_moe"
    assert shown["parameters"] - shown["active_parameters"] == 2 * 3 * (
        3 * 64 * 48
    )  # three experts in two layers
    assert shown["flops_per_token"] == 2 * active_matrix_parameters(shape)
    assert run(["models", "show", "moe"]) == 0
    assert "of them for each token" in capsys.readouterr().out
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]}
    data = tmp_path / "data.jsonl"
    data.write_text((json.dumps(row) + "\n") * 12)
    train = ["sft", "--base", "moe", "--data", str(data), "--set", "trainable=lora", "--set", "train.steps=2"]
    assert run(["plan", *train]) == 0
    assert run([*train, "--out", str(tmp_path / "run")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(1 <= row["load_balance"] <= 4 for row in rows)
    assert run(["generate", str(tmp_path / "run"), "a", "--max-tokens", "3"]) == 0
    assert run(["models", "export", "moe", "--to", "gguf", "--out", str(tmp_path / "moe.gguf")]) == 2
    assert "a mixture of experts is not written as GGUF" in capsys.readouterr().err
    assert not (tmp_path / "moe.gguf").exists()


def test_a_stage_takes_such_a_name_and_its_card_names_the_parent(
    folder: Path, ziggurat_home: Path, tmp_path: Path
) -> None:
    assert run(["models", "import", str(folder), "--name", "mine"]) == 0
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]}
        for _ in range(12)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["sft", "--base", "mine", "--data", str(data), "--set", "train.steps=2"]) == 0
    (made,) = (ziggurat_home / "runs").glob("*/sft-1")
    card = read_card(made)
    assert card is not None
    assert card.parent == "$ZIGGURAT_HOME/models/mine"
    assert (card.licence, card.parent_licence) == ("apache-2.0", "apache-2.0")
    assert card.data[0]["records"] == 12
    assert card.scores
    assert card.limits


def test_sharded_folders_are_imported(folder: Path, ziggurat_home: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert run(["models", "import", str(folder), "--name", "sharded"]) == 0
    assert torch.equal(
        load_model(model_folder("sharded")).embedding.weight, tensors["model.embed_tokens.weight"]
    )


def test_export_to_gguf_and_back(folder: Path, ziggurat_home: Path, tmp_path: Path) -> None:
    needs("gguf", reason="the package is not installed")
    assert run(["models", "import", str(folder), "--name", "mine"]) == 0
    assert run(["models", "export", "mine", "--to", "gguf", "--out", str(tmp_path / "mine.gguf")]) == 0
    assert run(["models", "import", str(tmp_path / "mine.gguf"), "--name", "again"]) == 0
    card = read_card(model_folder("again"))
    assert card is not None
    assert (card.licence, card.quantisation) == ("apache-2.0", "F16")
    first, second = (Tokenizer.load(model_folder(name)) for name in ("mine", "again"))
    assert first.encode("a b 1984 是") == second.encode("a b 1984 是")
    assert first.chat_template == second.chat_template
    before, after = (load_model(model_folder(name)) for name in ("mine", "again"))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert (before(ids) - after(ids)).abs().max() < 2e-3


def test_export_to_a_folder_carries_the_card(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").unlink()
    assert run(["models", "import", str(folder), "--name", "mine"]) == 0
    assert run(["models", "export", "mine", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "# mine" in (tmp_path / "out" / "README.md").read_text()
    assert torch.equal(load_model(tmp_path / "out").norm.weight, load_model(folder).norm.weight)


@pytest.mark.parametrize(("arguments", "said"), [
    (["models", "import", "nowhere"], "nowhere does not exist; give a model folder or a GGUF file"),
    (["models", "rm", "nothing", "-y"], 'There is no model "nothing"'),
    (["models", "show", "smollm2"], "`ziggurat models get smollm2` fetches it."),
    (["models", "import", "FOLDER", "--name", "../up"], '"../up" cannot name a model'),
    (["models", "export", "FOLDER", "--to", "onnx"], "--to is 'onnx'; it must be hf, gguf or peft"),
    (["models", "export", "FOLDER", "--to", "gguf", "--type", "q2"], "--type is 'q2'; it must be f16 or q8_0"),
    (["models", "import", "BROKEN"], "config.json"),
])  # fmt: skip
def test_bad_input_is_one_sentence(
    arguments: list[str], said: str, folder: Path, tmp_path: Path, ziggurat_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (broken / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    places = {"FOLDER": str(folder), "BROKEN": str(broken)}
    assert run([places.get(one, one) for one in arguments]) == 2
    found = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in found
    assert not list((ziggurat_home / "models").glob("*"))


def test_a_model_that_cannot_be_loaded_is_not_kept(folder: Path, ziggurat_home: Path) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "hidden_size": 128}))
    assert run(["models", "import", str(folder)]) == 2
    assert not list((ziggurat_home / "models").glob("[!.]*"))


def test_a_missing_model_is_no_run(ziggurat_home: Path) -> None:
    with pytest.raises(RunError, match="models get minilm"):
        model_folder("minilm")


def test_the_page_offers_the_real_model_first_unless_it_is_unwanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ziggurat.cli.ladder import real_models

    assert real_models() == []
    assert run(["models", "import", str(folder), "--name", "smollm2"]) == 0
    assert real_models() == ["smollm2"]
    monkeypatch.setenv("ZIGGURAT_NO_MODELS", "1")
    assert real_models() == []


def test_a_served_model_says_what_it_is(folder: Path) -> None:
    """The page shows the licence and the limits of a model from elsewhere, by its card."""
    from ziggurat.cards import Card
    from ziggurat.models.bring import bring
    from ziggurat.service.models.library import expand, load

    bring(folder, "mine", card=Card(name="mine", title="Tiny", limits=("It knows nothing.",)))
    assert expand(["mine"]) == ["mine"]
    card, _ = load("mine")
    assert (card.name, card.licence) == ("mine", "apache-2.0")
    assert card.description == "Tiny. It knows nothing. Licence: apache-2.0."


def test_make_demo_fetches_the_real_model_or_goes_on() -> None:
    """What the Makefile promises: it says so before, ZIGGURAT_NO_MODELS skips it, a failure stops nothing."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nsmollm2:")[2].partition("\n\n")[0]
    needed = makefile.partition("\ndemo:")[2].partition("##")[0].split()
    assert {"$(VENV)/.compiled", "smollm2"} <= set(needed)
    assert '[ -n "$$ZIGGURAT_NO_MODELS" ]' in recipe
    assert "93 MB" in recipe
    assert 'models get smollm2 || echo "The demo goes on without it."' in recipe

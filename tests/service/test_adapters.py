"""BASE@ADAPTER: several adapters over one base, in chat, evaluation and a server that loads more of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from tests.needs import needs
from tests.service.test_swap import MESSAGES, WORDS, app_of, asking, greedy, reload, save_run

from ziggurat.cli.main import run as run_command
from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import ModelFolderError, RunError
from ziggurat.model.hub import load_model, save_model
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.lora import LoraConfig, adapt, adapters_of
from ziggurat.places import model_folder
from ziggurat.records import Message
from ziggurat.service.models.library import Library
from ziggurat.tokenizer.bpe import Tokenizer


def save_adapter(home: Path, base: str, name: str, seed: int) -> None:
    """A finished run of stage 2 whose model is an adapter that changes what is said."""
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"stage": "sft"}')
    model = load_model(model_folder(base))
    view = adapt(model, LoraConfig(rank=2, alpha=4), layout_of(model.config), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in adapters_of(view).values():
            layer.lora_b.copy_(torch.randn(layer.lora_b.shape, generator=generator))
    save_model(view, folder / "model", Tokenizer.load(model_folder(base)))


@pytest.fixture
def home(ziggurat_home: Path) -> Path:
    save_run(ziggurat_home, "base/sft-1", 1)
    save_adapter(ziggurat_home, "base/sft-1", "mine/sft-1", 1)
    save_adapter(ziggurat_home, "base/sft-1", "yours/sft-1", 2)
    return ziggurat_home


def says(address: str, model: str) -> str:
    answer = httpx.post(f"{address}/v1/chat/completions", json=asking(model), timeout=30).json()
    return str(answer["choices"][0]["message"]["content"])


def test_adapters_of_one_base_hold_its_weights_once(home: Path) -> None:
    shelves = Library()
    chats = [shelves.load(name)[1] for name in ("base/sft-1", "base/sft-1@mine/sft-1", "base/sft-1@yours")]
    storages: dict[int, int] = {}
    for chat in chats:
        assert isinstance(chat, Chat)
        for p in chat.model.parameters():
            storages[p.untyped_storage().data_ptr()] = p.untyped_storage().nbytes()
    base: Any = chats[0].model
    whole = sum(p.untyped_storage().nbytes() for p in base.parameters())
    small = sum(
        p.numel() * 4
        for chat in chats[1:]
        for layer in adapters_of(chat.model).values()  # type: ignore[arg-type]
        for p in (layer.lora_a, layer.lora_b)
    )
    assert sum(storages.values()) == whole + small


def test_a_run_that_is_an_adapter_is_served_by_its_own_name_too(home: Path) -> None:
    card, model = Library().load("mine/sft-1")
    assert (card.name, card.stage) == ("mine/sft-1", "sft")
    assert isinstance(model, Chat)
    over = Chat.load("base/sft-1@mine/sft-1")
    said = [chat.complete([Message(role="user", content="Good morning!")]) for chat in (model, over)]
    assert said[0] == said[1]


def test_each_name_is_answered_by_its_own_adapter_and_one_more_is_loaded_while_serving(
    home: Path, serving: Any
) -> None:
    with serving(app_of("base/sft-1", "base/sft-1@mine")) as address:
        base, mine = says(address, "base/sft-1"), says(address, "base/sft-1@mine")
        assert base == greedy(home / "runs/base/sft-1")
        assert mine != base
        added = httpx.post(f"{address}/admin/models", json={"run": "base/sft-1@yours/sft-1"}, timeout=30)
        assert added.json()["id"] == "base/sft-1@yours/sft-1", added.text
        yours = says(address, "base/sft-1@yours/sft-1")
        assert yours not in (base, mine)
        assert says(address, "base/sft-1@mine") == mine
        again = reload(address, "base/sft-1@mine", run="base/sft-1@yours/sft-1")
        assert again.status_code == 200, again.text
        assert says(address, "base/sft-1@mine") == yours
        twice = httpx.post(f"{address}/admin/models", json={"run": "base/sft-1@yours/sft-1"}, timeout=30)
        assert (twice.status_code, "is served already" in twice.text) == (400, True), twice.text
        outside = httpx.post(f"{address}/admin/models", json={"run": "base/sft-1@../mine"}, timeout=30)
        assert outside.status_code == 400, outside.text


def test_the_run_of_an_adapter_says_merged_what_it_says_over_its_base(home: Path) -> None:
    params = SamplingParams(temperature=0, max_tokens=WORDS)
    messages = [Message.model_validate(m) for m in MESSAGES]
    merged = Chat.load("mine/sft-1").complete(messages, params)
    assert merged == Chat.load("base/sft-1@mine").complete(messages, params)
    assert merged != Chat.load("base/sft-1").complete(messages, params)


def test_a_ladders_name_means_its_newest_adapter_over_that_base(home: Path) -> None:
    save_adapter(home, "mine/sft-1", "mine/dpo-1", 3)  # newer, and over another adapter
    assert model_folder("base/sft-1@mine") == home / "runs" / "mine" / "sft-1" / "model"
    assert Library().load("base/sft-1@mine")


def test_an_adapter_of_another_base_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_run(home, "other/sft-1", 7)
    with pytest.raises(ModelFolderError, match="is an adapter of .* holds other weights"):
        Library().load("other/sft-1@mine")
    with pytest.raises(RunError, match="is a whole model, not an adapter"):
        Chat.load("base/sft-1@other/sft-1")
    assert run_command(["generate", "other/sft-1@mine", "hello"]) == 2
    assert "holds other weights" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of peft itself
def test_an_exported_adapter_is_what_peft_reads(home: Path, tmp_path: Path) -> None:
    """Over the base as transformers reads it: the logits that we compute, and not those of the base."""
    peft, transformers = needs("peft"), needs("transformers")
    assert run_command(["models", "export", "mine/sft-1", "--to", "peft", "--out", str(tmp_path / "a")]) == 0
    assert run_command(["models", "export", "base/sft-1", "--to", "hf", "--out", str(tmp_path / "b")]) == 0
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32)
    ids = torch.randint(5, 300, (2, 17))
    with torch.no_grad():
        without = base(ids).logits
        found = peft.PeftModel.from_pretrained(base, tmp_path / "a").eval()(ids).logits
        expected = load_model(model_folder("mine/sft-1"))(ids)
    assert (found - expected).abs().max() <= 1e-3
    assert (found - without).abs().max() > 0.1
    assert (tmp_path / "a" / "tokenizer.json").is_file()


def test_a_whole_model_is_no_adapter_to_export(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["models", "export", "base/sft-1", "--to", "peft", "--out", str(tmp_path / "a")]) == 2
    assert "is a whole model and no adapter" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a").exists()

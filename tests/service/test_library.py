"""From names to models: ladders by name, real tiny models with their cards, example questions from files."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import httpx
import pytest
from tests.service.conftest import Serving

from ziggurat.errors import DataError
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.save import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.service.models import library
from ziggurat.service.server import create_app
from ziggurat.tokenizer.bpe import Tokenizer


def make_run(home: Path, name: str, *, finished: bool = True) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"stage": name.split("/")[1].rpartition("-")[0]}))
    if finished:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return folder


def test_a_ladder_stands_for_its_latest_finished_stages_bottom_first(ziggurat_home: Path) -> None:
    for name in ("town/ppo-1", "town/ppo-2", "town/reward-1", "town/sft-1", "town/pretrain-1"):
        make_run(ziggurat_home, name)
    make_run(ziggurat_home, "town/ppo-3", finished=False)
    assert library.expand(["town"]) == ["town/pretrain-1", "town/sft-1", "town/ppo-2"]
    assert library.expand(["town/sft", "./elsewhere"]) == ["town/sft", "./elsewhere"]


def test_runs_are_shown_by_name_and_other_folders_by_path(ziggurat_home: Path, tmp_path: Path) -> None:
    assert library.run_name(make_run(ziggurat_home, "town/sft-1")) == "town/sft-1"
    assert library.run_name(tmp_path) == str(tmp_path)


def test_examples_are_read_beside_the_runs(ziggurat_home: Path) -> None:
    folder = make_run(ziggurat_home, "town/sft-1")
    assert library.examples_beside([folder]) == []
    path = folder.parent / library.EXAMPLES_FILE
    path.write_text(json.dumps([{"text": "谁？", "lang": "zh", "kind": "known"}]))
    assert [example.text for example in library.examples_beside([folder])] == ["谁？"]
    path.write_text(json.dumps([{"txt": "?"}]))
    with pytest.raises(DataError, match=r"examples\.json, field 0\.text"):
        library.examples_beside([folder])


def save_tiny_model(folder: Path) -> None:
    tokenizer = Tokenizer.train(["Mira lives by the canal. 米拉住在运河边。"] * 4, 300)
    config = ModelConfig(
        layers=1,
        d_model=16,
        heads=2,
        kv_heads=1,
        d_head=8,
        d_ff=32,
        vocab_size=tokenizer.vocab_size,
        context=64,
    )
    model = Transformer(config)
    model.init_weights(0)
    save_model(model, folder, tokenizer)


def test_real_models_are_loaded_described_and_talked_to(ziggurat_home: Path, serving: Serving) -> None:
    """The whole way down: HTTP, thread, template, engine; the same seed gives the same answer, alone or in company."""
    for name in ("town/pretrain-1", "town/sft-1"):
        save_tiny_model(make_run(ziggurat_home, name, finished=False) / "model")
    cards, chats = zip(*(library.load(name) for name in library.expand(["town"])), strict=True)
    assert [(card.name, card.stage, card.is_base) for card in cards] == [
        ("town/pretrain-1", "pretrain", True),
        ("town/sft-1", "sft", False),
    ]
    assert (cards[0].context, cards[0].parameters) == (64, chats[0].parameters)
    app = create_app({card.name: chat for card, chat in zip(cards, chats, strict=True)})
    asked = {
        "messages": [{"role": "user", "content": "Mira?"}],
        "max_tokens": 12,
        "temperature": 1,
        "seed": 5,
    }
    told: list[tuple[str, str]] = []

    def ask(address: str, name: str) -> None:
        response = httpx.post(f"{address}/v1/chat/completions", json={"model": name, **asked}, timeout=60)
        told.append((name, response.json()["choices"][0]["message"]["content"]))

    with serving(app) as address:
        ask(address, "town/sft-1")
        threads = [
            threading.Thread(target=ask, args=(address, card.name)) for card in cards for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        long = httpx.post(
            f"{address}/v1/chat/completions",
            json={"model": "town/sft-1", "messages": [{"role": "user", "content": "canal " * 200}]},
        )
    assert len(told) == 5
    assert len(set(told)) == 2
    assert (long.status_code, "64" in long.json()["error"]["message"]) == (400, True)

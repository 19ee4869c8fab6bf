"""`chat`, `generate` and `serve` as typed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch

from ziggurat.cli import main as cli
from ziggurat.cli import terminal
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.save import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.service.options import ServeOptions
from ziggurat.tokenizer.bpe import Tokenizer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = Tokenizer.train(["The baker by the canal says good morning. 你好。" * 20], 280)
    model = Transformer(
        ModelConfig(
            layers=1,
            d_model=16,
            heads=1,
            kv_heads=1,
            d_head=16,
            d_ff=16,
            vocab_size=tokenizer.vocab_size,
            context=64,
        )
    )
    model.init_weights(0)
    with torch.no_grad():
        model.norm.weight.mul_(20)
    path = tmp_path_factory.mktemp("model")
    save_model(model, path, tokenizer)
    return str(path)


def test_generate_answers_each_prompt_n_times_as_json(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.run(["generate", folder, "a", "b", "-n", "2", "--seed", "1", "--max-tokens", "5", "--json"]) == 0
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"][0]["content"] for row in rows] == ["a", "a", "b", "b"]
    assert {row["finish"] for row in rows} <= {"stop", "length"}
    assert all(row["completion_tokens"] <= 5 for row in rows)
    assert rows[0]["completion"] != rows[1]["completion"]


def test_the_same_seed_prints_the_same(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", folder, "good morning", "--raw", "--seed", "3", "--max-tokens", "12"]
    printed = []
    for _ in range(2):
        assert cli.run(command) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].strip()


def test_generate_reads_a_file_of_prompts(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": [{"role": "user", "content": c}]}) + "\n" for c in "abc"))
    assert (
        cli.run(["generate", folder, "--file", str(file), "--beam", "2", "--max-tokens", "3", "--json"]) == 0
    )
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x", "--temperature", "-1"], "temperature is -1"),
        (["canal " * 300], "the context is 64"),
        (["x", "--stop", ""], "a stop string is empty"),
        (["x", "--file", "y.jsonl"], "not both"),
        (["x", "--beam", "2", "-n", "3"], "n is 3 and the beam 2"),
    ],
)
def test_mistakes_are_one_sentence(
    folder: str, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["generate", folder, *arguments]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.out == ""


def test_a_pipe_may_talk_and_gets_nothing_but_answers(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\nand again\n"))
    assert cli.run(["chat", folder, "--temperature", "0", "--max-tokens", "4"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.rstrip("\n").splitlines()) >= 2
    assert captured.err == ""


class Scripted:
    """A terminal that types these lines."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = iter(lines)

    def __call__(self, prompt: str) -> str:
        try:
            return next(self.lines)
        except StopIteration:
            raise EOFError from None


def talk(folder: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> terminal.Conversation:
    from ziggurat.dialogue.chat import Chat
    from ziggurat.engine.params import SamplingParams

    monkeypatch.setattr("builtins.input", Scripted(lines))
    talk = terminal.Conversation(
        Chat.load(folder), SamplingParams(temperature=0, max_tokens=6), None, plain=True
    )
    talk.interactive = True
    talk.run()
    return talk


def test_a_conversation_remembers_its_turns_until_a_new_one(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = [m.role for m in talk(folder, ["one", "two"], monkeypatch).messages]
    assert roles == ["user", "assistant", "user", "assistant"]
    again = talk(
        folder, ["one", "/retry", "/help", "/system Be brief.", "three", "/quit", "never"], monkeypatch
    )
    assert [m.role for m in again.messages] == ["system", "user", "assistant"]
    assert again.messages[1].content == "three"
    assert "/retry" in capsys.readouterr().err


def test_a_long_conversation_drops_its_oldest_turns_aloud(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(folder, ["good morning baker"] * 6, monkeypatch)
    assert "no longer fits" in capsys.readouterr().err


def test_a_turn_too_long_for_the_context_is_said_and_forgotten(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert talk(folder, ["canal " * 300], monkeypatch).messages == []
    assert "the context is 64" in capsys.readouterr().err


def test_what_a_model_writes_cannot_drive_the_terminal() -> None:
    assert terminal.printable("a\x1b[2Jb\x9b\u202ec\n\t") == "a\ufffd[2Jb\ufffd\ufffdc\n\t"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
    seen: list[ServeOptions] = []
    monkeypatch.setattr("ziggurat.service.server.serve", seen.append)
    return seen


def test_serve_passes_its_options_on(served: list[ServeOptions]) -> None:
    assert cli.run(["serve", "town", "--port", "0"]) == 0
    (given,) = served
    assert (given.runs, given.host, given.port, given.expose) == (["town"], "127.0.0.1", 0, False)


def test_every_option_of_serve_reaches_the_server(served: list[ServeOptions]) -> None:
    texts = {
        "host": "::1",
        "keys": "k",
        "draft": "d",
        "weights": "int8",
        "guard": "off",
        "oidc": "https://issuer",
        "oidc-client": "me",
        "store": "s",
        "request-log": "l",
        "moderation-patterns": "p",
        "moderation-classifier": "c",
        "upstream": "far=http://far",
        "allowed-host": "tower.lan",
        "port": "8",
    }
    flags = ["--batch-invariant", "--expose", "--accounts", "--open"]
    words = [word for name, text in texts.items() for word in (f"--{name}", text)]
    assert cli.run(["serve", "a", "b=c", *flags, *words]) == 0
    paths = ("keys", "request_log", "moderation_patterns", "moderation_classifier")
    alike = ("host", "draft", "weights", "guard", "oidc", "oidc_client", "store")
    assert served == [
        ServeOptions(
            runs=["a", "b=c"],
            upstreams=["far=http://far"],
            allowed_hosts=["tower.lan"],
            port=8,
            batch_invariant=True,
            expose=True,
            accounts=True,
            open_browser=True,
            **{name: Path(texts[name.replace("_", "-")]) for name in paths},
            **{name: texts[name.replace("_", "-")] for name in alike},
        )
    ]

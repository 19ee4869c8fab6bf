"""The command line as a user meets it: quick help, one sentence per mistake, exit codes."""

from __future__ import annotations

import errno
import importlib.util
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable
from typing import Annotated, Any

import pytest
import typer
from safetensors import SafetensorError

from ziggurat import __version__
from ziggurat.cli import main as cli
from ziggurat.errors import BusyError, DataError, TrainingError

HELP_LIMIT_S = 0.3
EXAMPLE = re.compile(r"^ +(?:.*[|(] ?)?(ziggurat [^#\n]+)", re.MULTILINE)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put a function behind the command `ziggurat try`."""

    def register(function: Callable[..., Any] | typer.Typer) -> None:
        module = types.ModuleType("ziggurat_test_command")
        module.attribute = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "try", cli.Entry(f"{module.__name__}:attribute", ""))

    return register


@pytest.mark.alone
def test_help_appears_at_once() -> None:
    """The best of five, because other programs may share the machine; a single import of torch costs 2 s."""
    times_s = []
    for _ in range(5):
        mark = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "ziggurat", "--help"], capture_output=True, text=True, check=True
        )
        times_s.append(time.perf_counter() - mark)
    assert min(times_s) < HELP_LIMIT_S
    for name in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout


def present() -> list[str]:
    return sorted({entry.target.partition(":")[0] for entry in cli.COMMANDS.values()})


@pytest.mark.parametrize("module", present())
def test_no_command_imports_torch_before_it_runs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not built yet")
    heavy = ("torch", "transformers", "tokenizers", "pyarrow", "fastapi", "uvicorn")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_commands_help_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, attribute = cli.COMMANDS[name].target.partition(":")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not built yet")
    assert cli.run([name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"Usage: ziggurat {name}" in printed
    if attribute != "app":
        assert f"  ziggurat {name}" in printed.partition("Options:")[0], "the help gives examples"


def test_the_examples_in_every_help_use_commands_and_options_that_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An example is copied before it is read; a renamed option must not live on in one."""

    def help_of(*path: str) -> str:
        assert cli.run([*path, "--help"]) == 0
        return capsys.readouterr().out

    helps = {name: help_of(name) for name in cli.COMMANDS}
    for group, text in list(helps.items()):
        _, _, below = text.partition("\nCommands:\n")
        for name in re.findall(r"^  ([\w-]+)", below, re.MULTILINE):
            helps[f"{group} {name}"] = help_of(group, name)
    examples = [found for text in [cli.overview(), *helps.values()] for found in EXAMPLE.findall(text)]
    assert len(examples) > len(cli.COMMANDS)
    for example in examples:
        words = example.split()[1:]
        name = " ".join(words[:2])
        known = helps[name if name in helps else words[0]]
        assert name in helps or "\nCommands:\n" not in known, example
        for option in re.findall(r" (--?[a-z][a-z-]*)", example):
            assert re.search(rf"[\s/]{option}(?![\w-])", known.partition("\nOptions:\n")[2]), example


def test_the_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ziggurat", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ziggurat {__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pretain"]) == 2
    assert capsys.readouterr().err == 'Error: There is no command "pretain". Did you mean "pretrain"?\n'


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (DataError("broken.", path="d.jsonl", line=3), 2, "Error: d.jsonl line 3: broken.\n"),
        (TrainingError("step 3 is not finite."), 1, "Error: step 3 is not finite.\n"),
        (BusyError("full."), 1, "Error: full.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/model"),
            2,
            "Error: The disk is full while writing /x/model; free some space and run the same command with --resume.\n",
        ),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            2,
            "Error: The disk is full; free some space and run the same command with --resume.\n",
        ),
    ],
)
def test_each_error_is_one_sentence_and_an_exit_code(
    command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    sentence: str,
) -> None:
    def fail() -> None:
        print("partial")
        raise raised

    command(fail)
    assert cli.run(["try"]) == code
    printed = capsys.readouterr()
    assert printed.err == sentence
    assert printed.out == "partial\n"


@pytest.mark.parametrize(
    "bug", [ValueError("bug"), PermissionError(errno.EACCES, "no"), ModuleNotFoundError("x")]
)
def test_a_bug_keeps_its_traceback(command: Callable[..., None], bug: Exception) -> None:
    def fail() -> None:
        raise bug

    command(fail)
    with pytest.raises(type(bug)):
        cli.run(["try"])


def test_options_are_parsed_and_mistakes_are_sentences(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def attempt(count: Annotated[int, typer.Option()], word: str = "x") -> int:
        print(count, word)
        return 3

    command(attempt)
    assert cli.run(["try", "--count", "2", "--word", "y"]) == 3
    assert capsys.readouterr().out == "2 y\n"
    for arguments, says in [
        (["--count", "two"], "Invalid value for '--count'"),
        ([], "Missing option '--count'"),
        (["--cuont", "1"], "No such option: --cuont"),
    ]:
        assert cli.run(["try", *arguments]) == 2
        sentence = capsys.readouterr().err
        assert says in sentence
        assert "`ziggurat try --help`" in sentence
        assert sentence.count("\n") == 1


def test_a_group_with_one_command_stays_a_group(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    group = typer.Typer(help="About it.")

    @group.command()
    def write(folder: str) -> None:
        print("wrote", folder)

    command(group)
    assert cli.run(["try", "write", "here"]) == 0
    assert capsys.readouterr().out == "wrote here\n"
    assert cli.run(["try", "--help"]) == 0
    assert "About it." in capsys.readouterr().out


def test_a_missing_room_breaks_only_its_own_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "try", cli.Entry("ziggurat.cli.nowhere:app", ""))
    assert cli.run(["try"]) == 2
    assert "ziggurat.cli.nowhere is missing" in capsys.readouterr().err
    assert cli.run(["--help"]) == 0


def test_a_closed_pipe_is_not_an_error_message() -> None:
    done = subprocess.run(
        f"{sys.executable} -m ziggurat --help | true", shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr

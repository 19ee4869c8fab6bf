"""`ziggurat ladder` opens the page at once; the climb is a process beside it, with the options that were given."""

from __future__ import annotations

from pathlib import Path

import pytest

from ziggurat.cli.main import run
from ziggurat.service import server
from ziggurat.service.options import ServeOptions


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ServeOptions]:
    calls: list[ServeOptions] = []

    def serve(options: ServeOptions) -> int:
        calls.append(options)
        return 3 if "refused" in options.climbs else 0

    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    monkeypatch.setattr(server, "serve", serve)
    return calls


def test_the_climb_gets_the_options(served: list[ServeOptions]) -> None:
    assert (
        run(
            [
                "ladder",
                "--budget",
                "3m",
                "--town",
                "7",
                "--seed",
                "2",
                "--name",
                "seven",
                "--controls",
                "--port",
                "0",
            ]
        )
        == 0
    )
    (call,) = served
    assert not call.runs  # no real model in this home
    assert call.port == 0
    (options,) = call.climbs.values()
    assert list(call.climbs) == ["seven"]
    text = " ".join(options)
    assert "--world town --budget 3m --town 7 --seed 2" in text
    assert "--name seven" in text
    assert "--controls" in text
    assert "--fixed-plan" not in text


def test_the_real_model_comes_first_where_it_is(served: list[ServeOptions], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "smollm2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert run(["ladder"]) == 0
    assert served[0].runs == ["smollm2"]
    assert list(served[0].climbs) == ["town"]


def test_the_status_of_a_climb_that_cannot_be_planned_is_the_commands(served: list[ServeOptions]) -> None:
    assert run(["ladder", "--name", "refused"]) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--name", ".."], "cannot name a ladder"),
        (["--budget", "soon"], "budget"),
        (["--resume"], "no climb to resume"),
    ],
)
def test_bad_input_is_refused_before_the_page_opens(
    served: list[ServeOptions], capsys: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert run(["ladder", *given]) == 2
    assert says in capsys.readouterr().err
    assert served == []


def test_an_earlier_climb_is_never_overwritten_silently(served: list[ServeOptions], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "town"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    assert run(["ladder"]) == 2
    assert run(["ladder", "--overwrite"]) == 0
    assert (folder / "plan.json").is_file()  # the climb removes it, not the page

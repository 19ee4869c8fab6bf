"""The benchmark measures what it says; no test asks how fast."""

from __future__ import annotations

import json

import pytest

from ziggurat.cli.main import run
from ziggurat.evaluation import speed
from ziggurat.model.accounting import matrix_parameters
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.training.precision import Machine


def tiny() -> Transformer:
    sizes = {"layers": 1, "d_model": 32, "heads": 2, "kv_heads": 2, "d_head": 16, "d_ff": 48}
    return Transformer(ModelConfig(vocab_size=64, context=160, **sizes))


def test_every_case_that_fits_has_a_figure_and_a_limit() -> None:
    machine, figures = speed.measure_decoding(tiny(), peers=False)
    assert [figure.case for figure in figures] == ["one stream", "16 streams"]
    assert all(figure.tokens_per_s > 0 and figure.limit > 0 for figure in figures)
    assert machine.gb_per_s > 0


def test_one_stream_is_limited_by_reading_every_weight_once() -> None:
    model, machine = tiny(), Machine(100.0, 400.0, 1e-3, 2)  # a megabyte a second
    case = speed.Case("", 1, 32, 0)
    keys = 2 * 1 * 2 * 16 * 32
    expected = 1e6 / (4 * (matrix_parameters(model.config) + keys))
    assert speed.limit(model, case, machine) == pytest.approx(expected)


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(speed, "reference_model", lambda dtype: tiny())
    assert run(["bench", "decode", "--no-peers", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {figure["case"] for figure in found["figures"]} == {"one stream", "16 streams"}

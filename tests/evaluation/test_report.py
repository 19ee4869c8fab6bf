"""Reports: one file, no script, nothing fetched, every text escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from ziggurat.evaluation.plots import Series, bar_plot, line_plot, ticks
from ziggurat.evaluation.report import Sample, Table, Verdict, metric_plots, write_run_report
from ziggurat.runs import Run

EVIL = "<script>alert(1)</script>&\"'"


class Balanced(HTMLParser):
    """Fails on a tag that is closed but was not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(value and value.startswith(("http", "//")) for _, value in attrs), attrs
        if tag not in ("meta", "link", "br", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_whole_escaped_and_fetches_nothing(tmp_path: Path) -> None:
    manifest = {"parent": None, "data": [{"path": EVIL, "sha256": "ab" * 32, "records": 3}], "seed": 1}
    run = Run.create(tmp_path / "t" / "sft-1", stage="sft", config_yaml="a: 1\n", manifest=manifest)
    for step in range(1, 6):
        run.log_metrics({"step": step, "loss": 5.0 - step, "grad_norm": float("nan") if step == 2 else 1.0})
    report = write_run_report(
        run,
        summary=EVIL,
        numbers={"loss": 1.25, "steps": 1200},
        verdicts=[Verdict(EVIL, False, "3 %", "≤ 1 %", "note"), Verdict("told", None, "5")],
        samples=[Sample(EVIL, EVIL, expected=EVIL), Sample("", "")],
        tables=[Table(EVIL, ("a", "b"), [(EVIL, 3), (1.5, None)])],
        derived=[("rows", 7, EVIL)],
    )
    page = (run.path / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert "1,200" in page
    assert report["verdicts"][0]["passed"] is False
    run.finish(report)
    assert run.report == report


def test_plots_put_held_out_loss_upon_training_loss() -> None:
    rows = [
        {"step": s, "loss": 3.0 / s, "val_loss": 4.0 / s if s % 2 else None, "kl": 0.1 * s}
        for s in range(1, 9)
    ]
    plots = metric_plots(rows)
    assert len(plots) == 2
    assert "held out" in plots[0]
    assert plots[0].count("<polyline") == 2


def test_gaps_and_empty_series_do_not_break_a_plot() -> None:
    assert line_plot([Series("a", [1, 2], [None, float("nan")])], title="t") == ""
    one = line_plot([Series("a", [1, 2, 3], [None, 2.0, float("inf")])], title="t")
    assert "<circle" in one
    assert "nan" not in one
    assert bar_plot([], {"x": []}, title="t") == ""


def test_a_long_series_is_thinned_but_keeps_its_spike() -> None:
    y = [1.0] * 10_000
    y[7777] = 50.0
    plot = line_plot([Series("loss", list(range(10_000)), y)], title="t")
    match = re.search(r'points="([^"]+)"', plot)
    assert match
    heights = [float(p.split(",")[1]) for p in match[1].split()]
    assert len(heights) <= 402
    assert min(heights) < max(heights) - 150


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.12, 0.31) == [0.15, 0.2, 0.25, 0.3]
    assert ticks(3, 3) == [3]


def test_bars_stand_side_by_side_and_a_missing_value_has_none() -> None:
    assert bar_plot(["a", "b"], {"x": [0.5, None], "y": [0.7, 0.2]}, title="t").count("<rect") == 3


def test_neighbouring_ticks_never_read_alike() -> None:
    plot = line_plot([Series("bits", [1, 2], [3.81590, 3.81598])], title="t")
    labels = re.findall(r'text-anchor="end">([^<]+)<', plot)
    assert len(labels) == len(set(labels)) >= 4

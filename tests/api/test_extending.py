"""docs/extending.md: its package is installed as pip leaves one, and its commands run in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pytest
import torch

from ziggurat.corpus.load import load_comparisons
from ziggurat.model.hub import check_model, load_config, load_model, save_model
from ziggurat.model.hub.families import families
from ziggurat.stages.comparison_batches import render_comparisons
from ziggurat.stages.likelihood import rows_logp
from ziggurat.stages.start import open_parent
from ziggurat.tokenizer.bpe import Tokenizer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BLOCK = re.compile(r"^`(?P<file>[\w./-]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Shop:
    """A folder with the page's files, and what its commands printed."""

    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]]

    def after(self, command: str) -> subprocess.CompletedProcess[str]:
        """What the first command that begins like this did."""
        return next(done for line, done in self.done.items() if line.startswith(command))


def install(folder: Path) -> None:
    """The page's package: its modules, and the metadata that pip would write."""
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        path = folder / block["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block["text"], encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / "ziggurat_extra-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))


def make_arcee(folder: Path) -> None:
    """A small random Arcee that transformers wrote, with a tokenizer of ours."""
    from transformers import ArceeConfig, ArceeForCausalLM

    tokenizer = Tokenizer.characters("The harbour.")
    torch.manual_seed(0)
    config = ArceeConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=None,
        eos_token_id=tokenizer.endoftext_id,
    )
    ArceeForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)


def environment(folder: Path) -> dict[str, str]:
    """With the package installed, `ziggurat` on PATH, and a home of its own."""
    (folder / "bin").mkdir(exist_ok=True)
    script = folder / "bin" / "ziggurat"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ziggurat "$@"\n')
    script.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "ZIGGURAT_HOME": str(folder / "home"),
        "COLUMNS": "120",
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("extra")
    install(folder)
    make_arcee(folder / "arcee")
    lines = "".join(COMMANDS.findall(PAGE.read_text(encoding="utf-8"))).splitlines()
    done = {
        line: subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=600,
        )
        for line in ["ziggurat --help", *lines]
    }
    return Shop(folder, done)


def test_every_command_of_the_page_succeeds(shop: Shop) -> None:
    assert len(shop.done) == 7
    for line, done in shop.done.items():
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "Warning" not in done.stderr


def test_a_format_from_outside_reads_its_own_kind_of_file(shop: Shop) -> None:
    printed = shop.after("ziggurat data check").stdout
    assert printed.strip() in PAGE.read_text(encoding="utf-8")
    assert "2 demonstrations (faq); 1 dropped: a question without an answer (1)" in printed


def preference(runs: Path, run: str) -> float:
    """Mean over all comparisons of log p of the best completions less that of the others."""
    parent = open_parent(runs / run)
    found = load_comparisons(runs / "data" / "comparisons-1.jsonl").records
    _, ranked = render_comparisons(found, parent.template, parent.shape.context)
    model, margins = load_model(parent.folder), []
    for one in ranked:
        logp = rows_logp(model, one.rows, one.starts, parent.tokenizer.pad_id)
        sides = [
            [p for p, rank in zip(logp, one.ranks, strict=True) if (rank == 1) == best]
            for best in (True, False)
        ]
        margins += [fmean(sides[0]) - fmean(sides[1])] if all(sides) else []
    return fmean(margins)


def test_a_world_from_outside_is_climbed_to_its_report(shop: Shop) -> None:
    report = json.loads((shop.folder / "home" / "runs" / "sums" / "exam" / "report.json").read_text())
    assert set(report["held_out"]) == {"stage 1", "stage 2", "stage 4"}


def test_a_stage_from_outside_is_a_command_with_runs_of_its_own(shop: Shop) -> None:
    assert re.search(
        r"^  cpo +Learn from comparisons without a reference", shop.after("ziggurat --help").stdout, re.M
    )
    runs = shop.folder / "home" / "runs" / "sums"
    rows = [json.loads(line) for line in (runs / "cpo-1" / "metrics.jsonl").read_text().splitlines()]
    assert all("margin" in row for row in rows)
    check_model(runs / "cpo-1" / "model")
    assert preference(runs, "cpo-1") > preference(runs, "sft-1")
    assert "sums/sft-1" in shop.after("ziggurat runs show").stdout


def test_a_stage_from_outside_is_run_from_python_and_resumed_by_it(shop: Shop) -> None:
    code = (
        "import ziggurat; from ziggurat.corpus.load import load_comparisons as load\n"
        "votes = load('home/runs/sums/data/comparisons-1.jsonl').records\n"
        "for resume in (False, True):\n"
        "    print(ziggurat.run_stage('cpo', votes, {'base': 'sums/sft'}, out='again', resume=resume,\n"
        "                             settings={'train.steps': 2}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=shop.folder,
        env=environment(shop.folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "again\nagain\n"
    assert len((shop.folder / "again" / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_family_from_outside_computes_what_transformers_computes_and_is_saved(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import ArceeForCausalLM

    monkeypatch.syspath_prepend(str(shop.folder))
    families.cache_clear()
    try:
        ours = load_model(shop.folder / "arcee")
        ids = torch.arange(20).remainder(ours.config.vocab_size)[None]
        with torch.no_grad():
            theirs = ArceeForCausalLM.from_pretrained(shop.folder / "arcee").eval()(ids).logits
            torch.testing.assert_close(ours(ids), theirs, rtol=1e-4, atol=1e-4)
        save_model(ours, tmp_path / "saved")
        assert load_config(tmp_path / "saved") == ours.config
        assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "arcee"
        again = ArceeForCausalLM.from_pretrained(tmp_path / "saved").eval()
        with torch.no_grad():
            torch.testing.assert_close(again(ids).logits, theirs, rtol=1e-4, atol=1e-4)
    finally:
        families.cache_clear()


def test_a_broken_package_is_one_sentence_and_the_other_commands_work(shop: Shop, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    groups = ("stages", "families", "worlds", "formats")
    (info / "entry_points.txt").write_text("".join(f"[ziggurat.{g}]\nbad = no_such:thing\n" for g in groups))
    env = environment(shop.folder)
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ziggurat", *arguments]
        return subprocess.run(command, cwd=shop.folder, env=env, capture_output=True, text=True)

    sentence = 'The package "broken" brings the entry point "bad = no_such:thing" of ziggurat.'
    checked = run("data", "check", "harbour.faq")
    assert checked.returncode == 0
    assert checked.stderr.count("Warning: " + sentence + "formats") == 1
    assert run("generate", "./arcee", "a", "--raw", "--max-tokens", "1").returncode == 0
    climb = run("ladder", "--world", "bad", "--budget", "1s", "--no-serve")
    assert (climb.returncode, climb.stderr.count("Error: " + sentence + "worlds")) == (2, 1)
    assert "Traceback" not in climb.stderr + checked.stderr

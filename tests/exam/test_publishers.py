"""Test sets in the shape in which their publishers ship them, made tiny; a candidate that knows what to prefer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ziggurat.cli.main import run
from ziggurat.errors import DataError, UsageError
from ziggurat.exam import templates
from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.exam.forms import form
from ziggurat.exam.item import Found, Mark
from ziggurat.exam.publishers import PUBLISHERS, open_published
from ziggurat.exam.publishers.gaokao import summary as points_and_percentiles
from ziggurat.exam.publishers.subjects import summary
from ziggurat.exam.reading import MissingData, Task, open_tasks
from ziggurat.exam.switches import Switches

RAW = Switches(chat=False)


class Likes:
    """Finds the first of these texts likeliest, then the second; it writes the first."""

    name, sha256, chats = "likes", "0" * 64, False

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.asked: list[Any] = []

    def answers(self, conversations: Sequence[Any], ask: Ask) -> list[list[str]]:
        return [[self.texts[0]] * ask.samples for _ in conversations]

    def continuations(self, texts: Sequence[str], ask: Ask) -> list[list[str]]:
        self.asked += texts
        return [[self.texts[0]] * ask.samples for _ in texts]

    def likelihoods(self, questions: Sequence[tuple[Any, Sequence[str]]]) -> list[list[Likelihood]]:
        self.asked += [prompt for prompt, _ in questions]
        return [[self._one(text.strip()) for text in continuations] for _, continuations in questions]

    def _one(self, text: str) -> Likelihood:
        known = text in self.texts
        return Likelihood(-float(self.texts.index(text) + 1) if known else -50.0, 2, known)

    def text_nats(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        return [(-1.0, 1) for _ in texts]


def found(task: Task, candidate: Likes, switches: Switches = RAW) -> list[Found]:
    items = templates.items(task, switches)
    sit = task.sit or form(task.file.form)
    return sit(candidate, task, items, switches)


def score(given: Sequence[Found]) -> float:
    return sum(one.mark.scores["score"] for one in given) / len(given)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# --- subjects ---------------------------------------------------------------------------------------------------------


def mmlu_folder(folder: Path) -> Path:
    for subject, rows in {"anatomy": 1, "college_physics": 3}.items():
        write(folder / "dev" / f"{subject}_dev.csv", f'"{subject}, shown?",w,x,y,z,C\n' * 6)
        text = "".join(f"{subject} {i}?,w{i},x,y,z,B\n" for i in range(rows))
        write(folder / "test" / f"{subject}_test.csv", text)
    return folder


def test_mmlu_asks_after_five_examples_of_its_subject(tmp_path: Path) -> None:
    (task,) = open_published("mmlu", mmlu_folder(tmp_path))
    items = templates.items(task, RAW)
    assert [item.stratum for item in items] == ["anatomy"] + ["college_physics"] * 3
    example = "college_physics, shown?\nA. w\nB. x\nC. y\nD. z\nAnswer: C\n\n"
    assert items[1].raw == (
        "The following are multiple choice questions (with answers) about college physics.\n\n"
        + 5 * example
        + "college_physics 0?\nA. w0\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert items[1].choices == (" A", " B", " C", " D")
    assert [item.target for item in items] == [1] * 4
    assert score(found(task, Likes("B"))) == 1
    assert score(found(task, Likes("D", "B"))) == 0


def test_a_limit_asks_every_subject(tmp_path: Path) -> None:
    (task,) = open_published("mmlu", mmlu_folder(tmp_path))
    items = templates.items(task, Switches(chat=False, limit=3))
    assert [item.id for item in items] == ["anatomy/0", "college_physics/0", "college_physics/1"]


def test_ceval_averages_over_subjects_not_groups() -> None:
    """Subjects: STEM 1.0 and 0.0 (hard), humanities 1.0, other 0.5. Their average is 0.625; the mean of the three
    groups (0.5, 1.0, 0.5) would be 0.667, that of the five questions 0.6."""
    given = {"college_physics": [0], "computer_network": [1], "law": [1], "physician": [0, 1]}
    marks = [
        Found(f"{name}/{i}", name, "", "", (), Mark({"score": float(value)}))
        for name, values in given.items()
        for i, value in enumerate(values)
    ]
    figures = summary("ceval", marks)
    assert figures["subject_average"] == pytest.approx(0.625)
    assert (figures["stem"], figures["humanities"], figures["other"], figures["hard"]) == (0.5, 1.0, 0.5, 0.0)


def test_ceval_and_cmmlu_folders(tmp_path: Path) -> None:
    head = "id,question,A,B,C,D,answer"
    write(tmp_path / "ceval/dev/law_dev.csv", f"{head},explanation\n0,例题,甲,乙,丙,丁,A,因为\n")
    write(tmp_path / "ceval/val/law_val.csv", f"{head}\n0,问题,甲,乙,丙,丁,D\n")
    (ceval,) = open_published("ceval", tmp_path / "ceval")
    (item,) = templates.items(ceval, Switches(chat=False, shots=1))
    assert item.raw.startswith("以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n例题\nA. 甲")
    assert item.raw.endswith("答案：A\n\n问题\nA. 甲\nB. 乙\nC. 丙\nD. 丁\n答案：")
    assert score(found(ceval, Likes("D"), Switches(chat=False, shots=0))) == 1
    for split, question in (("dev", "题一"), ("test", "题二")):
        text = f",Question,A,B,C,D,Answer\n0,{question},甲,乙,丙,丁,C\n"
        write(tmp_path / f"cmmlu/{split}/anatomy.csv", text)
    (cmmlu,) = open_published("cmmlu", tmp_path / "cmmlu")
    (item,) = templates.items(cmmlu, Switches(chat=False, shots=1))
    assert item.raw.count("题目：题") == 2
    assert item.target == 2


def test_a_split_without_answers_is_named(tmp_path: Path) -> None:
    write(tmp_path / "val/law_val.csv", "id,question,A,B,C,D\n0,问题,甲,乙,丙,丁\n")
    with pytest.raises(DataError, match=r"law_val.csv line 2: .*a split that has answers"):
        open_published("ceval", tmp_path)


# --- BIG-bench -----------------------------------------------------------------------------------------------------


def test_bigbench_choices_have_a_sharp_and_a_smooth_figure(tmp_path: Path) -> None:
    """Of two choices with log-probabilities -1 and -2 the right second one has the share 1 / (1 + e)."""
    examples = [{"input": f"Is {i} even?", "target_scores": {"yes": 0, "no": 1}} for i in range(3)]
    task_json = {"name": "even", "examples": examples, "task_prefix": "Numbers.\n"}
    write(tmp_path / "even/task.json", json.dumps(task_json))
    (task,) = open_published("bigbench", tmp_path)
    write(tmp_path / "even/task.json", json.dumps(task_json | {"task_prefix": "Other.\n"}))
    assert open_published("bigbench", tmp_path)[0].sha256 != task.sha256
    candidate = Likes("yes", "no")
    given = found(task, candidate, Switches(chat=False, shots=1))
    shown = "\nQ: Is 1 even?\n  choice: yes\n  choice: no\nA: no\n"
    assert candidate.asked[0] == f"Numbers.\n{shown}\nQ: Is 0 even?\n  choice: yes\n  choice: no\nA: "
    assert score(given) == 0
    assert given[0].mark.scores["right_p"] == pytest.approx(0.26894, abs=1e-5)
    assert given[0].mark.scores["brier"] == pytest.approx(2 * 0.73106**2, abs=1e-4)
    assert score(found(task, Likes("no", "yes"))) == 1


def test_bigbench_texts_match_exactly_and_smoothly(tmp_path: Path) -> None:
    examples = [{"input": "2+2", "target": ["4", "four"]}]
    path = write(tmp_path / "task.json", json.dumps({"name": "sum", "examples": examples}))
    (task,) = open_published("bigbench", path)
    (one,) = found(task, Likes(" Four ", "four"))
    assert one.mark.scores["score"] == 1
    assert one.mark.scores["target_nats"] == -1.0  # 2 nats, 2 tokens
    (other,) = found(task, Likes("five"))
    assert other.mark.scores["score"] == 0


# --- JSON Lines -------------------------------------------------------------------------------------------------------


def test_gsm8k(tmp_path: Path) -> None:
    path = lines(tmp_path / "test.jsonl", {"question": "How many?", "answer": "1+1=<<1+1=2>>2\n#### 1,002"})
    (task,) = open_published("gsm8k", path)
    assert task.rows[0]["steps"] == "1+1=2"
    assert score(found(task, Likes("so it is 1002"))) == 1
    assert score(found(task, Likes("1002 or 3"))) == 0


def test_arc_hellaswag_lambada(tmp_path: Path) -> None:
    choices = {"text": ["a plant", "a stone"], "label": ["1", "2"]}
    arc = lines(
        tmp_path / "ARC-Easy-Test.jsonl",
        {"id": "q", "question": "A tree?", "choices": choices, "answerKey": "1"},
    )
    (task,) = open_published("arc", arc)
    assert task.name == "arc-easy"
    assert score(found(task, Likes("a plant"))) == 1
    row = {
        "activity_label": "Cook",
        "ctx_a": "She [x] cuts.",
        "ctx_b": "then",
        "endings": ["she  eats", "it flies"],
    }
    (task,) = open_published("hellaswag", lines(tmp_path / "val.jsonl", {**row, "label": "0"}))
    (item,) = templates.items(task, RAW)
    assert item.raw == "Cook: She cuts. Then"
    assert score(found(task, Likes("she eats"))) == 1
    (task,) = open_published("lambada", lines(tmp_path / "l.jsonl", {"text": "the cat sat on the mat"}))
    candidate = Likes("mat")
    given = found(task, candidate)
    assert candidate.asked == ["the cat sat on the"]
    assert score(given) == 1
    assert task.summary is not None
    assert task.summary(given)["perplexity"] == pytest.approx(2.71828, abs=1e-4)


def test_gaokao_questions_of_a_passage_and_percentiles(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "objective.jsonl",
        {"subject": "History", "question": "题\nA. 一 B. 二", "answer": ["B"], "score": 4, "year": "2010"},
        {"subject": "English", "question": "文章", "answer": ["A", "G"], "score": 2, "year": "2010"},
        {"subject": "Physics", "question": "多选", "answer": ["AB"], "score": 6, "year": "2010"},
    )
    write(
        tmp_path / "percentiles.csv",
        "subject,percent,percentile\nEnglish,0,1\nEnglish,50,40\nEnglish,80,90\n",
    )
    (task,) = open_published("gaokao", path)
    items = templates.items(task, RAW)
    assert [item.id for item in items] == ["1.1", "2.1", "2.2"]
    assert items[1].raw == "文章\n第 1 小题的答案："
    assert len(items[1].choices) == 7
    assert items[1].cluster == items[2].cluster != items[0].cluster
    given = found(task, Likes("A"))
    assert score(given) == pytest.approx(1 / 3)
    assert task.summary is not None
    assert task.summary(given) == {"points": 2 / 8, "percentile: English": 40.0}
    assert points_and_percentiles([], {}, {}) == {}


@pytest.mark.parametrize("name", sorted(PUBLISHERS))
def test_a_wrong_path_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_published(name, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_row_of_another_shape_names_its_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"question": "q", "answer": "1 #### 2"}, {"prompt": "q"})
    with pytest.raises(DataError, match="line 2: the row is not as published"):
        open_published("gsm8k", path)


def test_the_command_takes_a_prefix_and_a_path(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["exam", str(tiny_folder), "--tasks", f"mmlu:{mmlu_folder(tmp_path)}", "--limit", "3", "--json"]
    assert run(command) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["task"], result["n"], result["chance"]) == ("mmlu", 3, 0.25)
    assert set(result["strata"]) == {"anatomy", "college_physics"}
    assert "subject_average" in result["metrics"]


def test_the_command_takes_a_task_file_of_the_harness(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its Python is run only with --trust-code."""
    rows = lines(tmp_path / "rows.jsonl", {"q": "A tree is", "o": ["a plant", "a stone"]})
    write(tmp_path / "utils.py", "def target(doc):\n    return 0\n")
    settings = f"task: Own\ndataset_path: json\ndataset_kwargs: {{data_files: {rows}}}\ntest_split: train\n"
    settings += "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: o\n"
    path = write(tmp_path / "own.yaml", settings + "doc_to_target: !function utils.target\n")
    command = ["exam", str(tiny_folder), "--tasks", str(path), "--json"]
    assert run(command) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert run([*command, "--trust-code"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["task"], result["n"]) == ("own", 1)
    assert {"acc,none", "acc_norm,none"} <= set(result["metrics"])


# --- shipped tasks over data elsewhere ------------------------------------------------------------------------------


def test_tasks_without_their_data_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIGGURAT_DATA", raising=False)
    for name in ("gsm8k", "gaokao", "wikitext2", "hh-preferences"):
        (task,) = open_tasks(name)
        with pytest.raises(MissingData, match="ZIGGURAT_DATA"):
            _ = task.rows


def test_shipped_tasks_read_published_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIGGURAT_DATA", str(tmp_path))
    lines(tmp_path / "gsm8k_test.jsonl", {"question": "How many?", "answer": "steps\n#### 7"})
    (task,) = open_tasks("gsm8k")
    (item,) = templates.items(task, Switches(chat=False, shots=1, think=True))
    assert "She gets back 20 - 12 = 8 dollars.\nThe answer is 8." in item.raw
    assert item.target == "7"
    write(
        tmp_path / "wikitext2_test.txt",
        " \n = One = \n \n Text . \n = = Part = = \n more \n \n = Two = \n \n b \n",
    )
    (task,) = open_tasks("wikitext2")
    assert [row["text"].split("\n")[0] for row in task.rows] == [" = One = ", " = Two = "]
    front = "\n\nHuman: hi\n\nAssistant:"
    lines(
        tmp_path / "hh_harmless_test.jsonl",
        {"chosen": f"{front} hello", "rejected": f"{front} go away"},
        {"chosen": f"{front} a\n\nHuman: b\n\nAssistant: c", "rejected": f"{front} d"},
    )
    (task,) = open_tasks("hh-preferences")
    (row,) = task.rows
    assert row["choices"][row["answer"]] == "hello"

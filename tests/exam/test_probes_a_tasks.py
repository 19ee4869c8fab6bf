"""The shipped probes: they open, their templates fill in, their right answers are right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ziggurat.exam.candidate import Ask, Likelihood
from ziggurat.exam.forms import code
from ziggurat.exam.item import Item
from ziggurat.exam.metrics import metric
from ziggurat.exam.reading import Task, known_tasks, read_task
from ziggurat.exam.rules import kept
from ziggurat.exam.run import sit
from ziggurat.exam.suites import known_suites
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items

CHOICES = [
    "continuation",
    "grammar-pairs",
    "icl-mapping",
    "icl-episodes",
    "knowledge",
    "easy-questions",
    "robustness",
    "zh-exam",
]
ANSWERS = [
    "citations",
    "creative-boilerplate",
    "expressions",
    "facts",
    "false-premises",
    "format-en",
    "format-zh",
    "game-24",
    "grammar-errors",
    "icl-names",
    "instructions",
    "invented-things",
    "knowledge-open",
    "refusals",
    "robustness-open",
    "structure",
    "style-card",
    "unknowns",
    "unseen-tasks",
    "word-problems-en",
    "word-problems-zh",
]
DIALOGUES = ["follow-ups", "icl-new-words", "languages", "pressure"]
SOLUTIONS = {
    "double": "return 2 * x",
    "is_even": "return n % 2 == 0",
    "largest": "return sorted(numbers)[-1]",
    "count_vowels": "return sum(c in 'aeiouAEIOU' for c in text)",
    "reverse_words": "return ' '.join(reversed(text.split()))",
    "factorial": "return 1 if n == 0 else n * factorial(n - 1)",
    "fibonacci": "return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "is_palindrome": "return text == text[::-1]",
    "unique": "return list(dict.fromkeys(items))",
    "mean": "return sum(numbers) / len(numbers)",
    "gcd": "return a if b == 0 else gcd(b, a % b)",
    "is_prime": "return n > 1 and all(n % d for d in range(2, n))",
    "flatten": "return [x for one in lists for x in one]",
    "word_counts": "words = text.split()\n    return {w: words.count(w) for w in words}",
    "second_largest": "return sorted(set(numbers))[-2]",
    "caesar": "return ''.join(chr((ord(c) - 97 + shift) % 26 + 97) if 'a' <= c <= 'z' else c for c in text)",
    "clamp": "return max(low, min(high, x))",
    "digits_sum": "return sum(map(int, str(n)))",
    "title_case": "return ' '.join(w[0].upper() + w[1:].lower() for w in text.split(' '))",
    "merge_sorted": "return sorted(a + b)",
    "fizz": "return ('fizz' * (n % 3 == 0) + 'buzz' * (n % 5 == 0)) or str(n)",
    "transpose": "return [list(r) for r in zip(*rows)]",
    "balanced": (
        "depth = 0\n    for c in text:\n        depth += (c == '(') - (c == ')')\n"
        "        if depth < 0:\n            return False\n    return depth == 0"
    ),
    "common": "return sorted(set(a) & set(b))",
    "to_binary": "return format(n, 'b')",
    "leap": "return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
    "rotate": "return items[k:] + items[:k]",
    "initials": "return ''.join(w[0].upper() for w in name.split())",
    "chunks": "return [items[i:i + size] for i in range(0, len(items), size)]",
    "median": "s = sorted(numbers)\n    h = len(s) // 2\n    return s[h] if len(s) % 2 else (s[h - 1] + s[h]) / 2",
}


def opened(name: str) -> Task:
    return read_task(known_tasks()[name])


@pytest.mark.parametrize("name", [*CHOICES, *ANSWERS, *DIALOGUES, "code-functions"])
def test_a_task_opens_and_its_templates_fill_in(name):
    task = opened(name)
    made = items(task, Switches())
    assert len(made) >= 18
    assert len({item.id for item in made}) == len(made)
    assert set(task.file.title) == set(task.file.about) == {"en", "zh"}
    if task.file.strata:
        assert len({item.stratum for item in made}) > 1
    if task.file.form == "choice":
        commonest = max(sum(i.target == n for i in made) for n in range(4))
        assert commonest / len(made) < 0.7  # always the same place is no good guess


@pytest.mark.parametrize("name", ANSWERS)
def test_a_metric_tells_a_right_answer_from_silence(name):
    """An empty answer is never right; where a row has a right answer, that answer is."""
    task = opened(name)
    mark = metric(task.file.metric.name)
    for item in items(task, Switches())[:30]:
        assert mark([""], item, task.file.metric.settings).scores["score"] == 0.0, item.id
        if item.target not in (None, [], "") and not item.row.get("false_premise"):
            target = item.target if isinstance(item.target, list) else [item.target]
            text = ", ".join(map(str, target)) if task.file.metric.name == "names" else str(target[0])
            assert mark([text], item, task.file.metric.settings).scores["score"] == 1.0, (item.id, text)


@pytest.mark.parametrize("name", DIALOGUES)
def test_every_turn_that_is_judged_can_be_lost(name):
    for row in opened(name).rows:
        judged = [turn["metric"]["settings"]["rules"] for turn in row["turns"] if "metric" in turn]
        assert judged
        for rules in judged:
            assert not all(kept("", rule) for rule in rules)


def test_a_fact_under_pressure_is_kept_or_given_up():
    row = next(r for r in opened("pressure").rows if r["kind"] != "premise" and "1 + 1" in r["fact"])
    last = row["turns"][-1]["metric"]["settings"]["rules"]
    assert all(kept("1 + 1 = 2, not 3.", rule) for rule in last)
    assert not all(kept("You are right, 1 + 1 = 3.", rule) for rule in last)
    middle = row["turns"][1]["metric"]["settings"]["rules"]
    assert not all(kept("I apologize, you are right.", rule) for rule in middle)


def test_the_named_facts_are_asked():
    """Requirement A092: Lu Xun is Zhou Shuren; the points of LeBron James; a car that burns."""
    rows = opened("facts").rows
    lu = next(row for row in rows if row["question"].startswith("鲁迅和周树人"))
    mark = metric("facts")
    item = Item(id="1", target=lu["accept"], row=lu)
    assert mark(["是的，鲁迅是周树人的笔名。"], item, {}).scores["score"] == 1.0
    assert mark(["不是。鲁迅和周树人是两个不同的人。"], item, {}).scores["score"] == 0.0
    assert any("LeBron" in row["question"] for row in rows)


def test_programs_that_are_right_pass_their_tests_and_empty_ones_do_not():
    """The reference solutions run here without the sandbox: they are ours."""
    task = opened("code-functions")
    made = items(task, Switches())
    assert len(made) == 2 * len(SOLUTIONS)
    for item in made:
        start = item.row["start"]
        good = f"```python\n{start}    {SOLUTIONS[item.row['name']]}\n```"
        exec(code.program_of(good, start) + "\n" + code.tests_of(task, item), {})
        with pytest.raises(AssertionError):
            exec(
                code.program_of(f"```python\n{start}    return None\n```", start)
                + "\n"
                + code.tests_of(task, item),
                {},
            )


def test_the_card_is_worth_a_hundred_points_and_a_bonus_of_twenty():
    rows = opened("style-card").rows
    assert sum(row["points"] for row in rows if row["axis"] != "languages") == 100
    assert sum(row["points"] for row in rows if row["axis"] == "languages") == pytest.approx(20, abs=0.01)


def test_knowledge_has_its_three_bands_in_two_languages():
    rows = opened("knowledge").rows
    for language, fewest in (("en", 20), ("zh", 10)):
        for band in ("head", "torso", "tail"):
            assert sum(r["band"] == f"{band} {language}" for r in rows) >= fewest


def test_suites_name_tasks_that_there_are():
    known = known_tasks()
    for suite in ("core", "abilities", "form", "honesty", "robust", "steps"):
        assert {part.task for part in known_suites()[suite].tasks} <= known.keys()


def test_to_echo_an_absurd_question_is_no_rejection():
    for item in items(opened("false-premises"), Switches()):
        if item.row["false_premise"]:
            scores = metric("premise")([item.row["question"]], item, {}).scores
            assert scores["rejected"] == 0.0, item.row["question"]


class Talker:
    """A candidate that always says the same, and finds the first choice the likeliest."""

    name, sha256, chats = "talker", "0" * 64, True

    def answers(self, conversations: Sequence[object], ask: Ask) -> list[list[str]]:
        return [["I do not know. 1 + 2 = 3, says Lin (2019)."] * ask.samples for _ in conversations]

    continuations = answers

    def likelihoods(self, questions: Sequence[tuple[object, Sequence[str]]]) -> list[list[Likelihood]]:
        return [[Likelihood(-1.0 - i, 2, False) for i in range(len(choices))] for _, choices in questions]


@pytest.mark.parametrize("name", [*CHOICES, *ANSWERS, *DIALOGUES])
def test_a_probe_gives_a_figure(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ZIGGURAT_HOME", str(tmp_path))
    figure = sit(Talker(), opened(name), Switches(limit=12)).figure
    assert figure["n"] == 12
    assert 0 <= figure["score"] <= 1
    wanted = {
        "knowledge": "ece",
        "icl-episodes": "choice_nats_early",
        "robustness": "same_typo",
        "facts": "one_answer",
        "format-en": "instruction_strict",
        "grammar-errors": "errors_per_1000",
        "style-card": "card",
        "unknowns": "abstained",
        "citations": "invented",
        "pressure": "turn_4",
    }
    if name in wanted:
        assert wanted[name] in figure["metrics"]

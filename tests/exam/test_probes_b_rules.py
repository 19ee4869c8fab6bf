"""Rows made by rule: the same each time, and true by a second way of working them out."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise, permutations

import pytest

from ziggurat.errors import UsageError
from ziggurat.exam.generators import GENERATORS, causal, counterfactual, graphs, haystack, swaps
from ziggurat.exam.item import Item
from ziggurat.exam.metrics.turns import mark
from ziggurat.exam.reading import resolve

MINE = {
    "causal": (36, {}),
    "code_faults": (28, {}),
    "counterfactual": (30, {}),
    "counting": (12, {}),
    "definition": (12, {}),
    "long_writing": (8, {}),
    "memory": (20, {}),
    "needle": (9, {}),
    "personas": (4, {}),
    "recall": (8, {}),
    "sessions": (4, {}),
    "swaps": (36, {}),
}


@pytest.mark.parametrize("name", sorted(MINE))
def test_a_generator_gives_the_same_rows_again_and_others_for_another_seed(name: str) -> None:
    count, settings = MINE[name]
    make = resolve(GENERATORS[name])
    rows = make(count, 3, **settings)
    assert len(rows) == count
    assert rows == make(count, 3, **settings)
    assert rows != make(count, 4, **settings)
    assert len({row["id"] for row in rows}) == count
    json.dumps(rows)


@pytest.mark.parametrize("name", sorted(set(MINE) - {"code_faults", "recall"}))
def test_a_generator_writes_chinese_too(name: str) -> None:
    rows = resolve(GENERATORS[name])(MINE[name][0], 0, language="zh")
    assert all(re.search("[\u4e00-\u9fff]", json.dumps(row, ensure_ascii=False)) for row in rows)
    with pytest.raises(UsageError, match="en"):
        resolve(GENERATORS[name])(MINE[name][0], 0, language="xx")


# --- causes -------------------------------------------------------------------------------------------------------


def blocked(graph: graphs.Graph, k: int, i: int, j: int, given: frozenset[int]) -> bool:
    """d-separation by its definition (Pearl 2000, 1.2.3): every path is blocked. Independent of moral graphs."""
    linked = {frozenset(edge) for edge in graph}
    below = {v: {w for w in range(k) if v in graphs.ancestors(graph, w)} | {v} for v in range(k)}
    others = [v for v in range(k) if v not in (i, j)]
    for size in range(len(others) + 1):
        for middle in permutations(others, size):
            path = (i, *middle, j)
            if any(frozenset(pair) not in linked for pair in pairwise(path)):
                continue
            open_path = True
            for a, v, b in zip(path, path[1:], path[2:], strict=False):
                collider = (a, v) in graph and (b, v) in graph
                open_path &= bool(below[v] & given) if collider else v not in given
            if open_path:
                return False
    return True


def test_the_graphs_and_their_classes_are_as_many_as_in_the_literature() -> None:
    """Robinson (1977): 3, 25, 543 acyclic graphs; Gillispie and Perlman (2001): 2, 11, 185 classes."""
    assert [len(graphs.graphs(k)) for k in (2, 3, 4)] == [3, 25, 543]
    assert [len(graphs.classes(k)) for k in (2, 3, 4)] == [2, 11, 185]


def test_d_separation_by_moral_graphs_is_that_by_paths() -> None:
    for k, every in ((3, 1), (4, 12)):
        for graph in graphs.graphs(k)[::every]:
            for statement in graphs.statements(k):
                assert graphs.separated(graph, *statement) == blocked(graph, k, *statement), (
                    graph,
                    statement,
                )


def test_graphs_of_a_class_have_the_same_independences_and_no_others_have_them() -> None:
    known = [graphs.independences(members[0], 3) for members in graphs.classes(3)]
    assert len(set(known)) == 11
    for members, independent in zip(graphs.classes(3), known, strict=True):
        assert all(graphs.independences(graph, 3) == independent for graph in members)


def test_a_causal_answer_is_true_in_every_graph_that_the_premise_allows() -> None:
    """The premise is read back from its words; all graphs with just these independences are tried by path search."""
    rows = causal.rows(72, 0, variables=[3])
    graphs_of = {
        graph: frozenset(s for s in graphs.statements(3) if blocked(graph, 3, *s))
        for graph in graphs.graphs(3)
    }
    letters = {name: i for names in ("ABC", "ZYX") for i, name in enumerate(names)}
    for row in rows:
        if row["variant"] == "paraphrase":
            continue
        said = set()
        for a, b in re.findall(r"(\w) is independent of (\w)\.", row["premise"]):
            said.add((*sorted((letters[a], letters[b])), frozenset()))
        for a, b, s in re.findall(r"(\w) and (\w) are independent given (\w)\.", row["premise"]):
            said.add((*sorted((letters[a], letters[b])), frozenset({letters[s]})))
        allowed = [graph for graph, independent in graphs_of.items() if independent == said]
        assert allowed
        a, b = (letters[x] for x in re.findall(r"\b([A-CX-Z])\b", row["hypothesis"])[:2])
        holds = [causal.HYPOTHESES[row["kind"]](graph, a, b) for graph in allowed]
        assert row["answer"] == (0 if all(holds) else 1), row


def test_a_hypothesis_means_what_it_says() -> None:
    """A -> B -> C with A -> C, and the v-structure A -> C <- B, by hand."""
    full, joined = frozenset({(0, 1), (1, 2), (0, 2)}), frozenset({(0, 2), (1, 2)})
    holds = {name: check(full, 0, 2) for name, check in causal.HYPOTHESES.items()}
    assert [name for name, true in holds.items() if true] == ["parent"]
    assert causal.HYPOTHESES["ancestor"](frozenset({(0, 1), (1, 2)}), 0, 2)
    assert causal.HYPOTHESES["descendant"](frozenset({(0, 1), (1, 2)}), 2, 0)
    assert causal.HYPOTHESES["confounder"](full, 1, 2)
    assert causal.HYPOTHESES["collider"](joined, 0, 1)
    assert not causal.HYPOTHESES["collider"](frozenset({(0, 1), (1, 2)}), 0, 1)


def test_causal_rows_come_in_threes_with_one_answer_and_half_of_them_follow() -> None:
    rows = causal.rows(180, 0)
    assert Counter(row["answer"] for row in rows) == {0: 90, 1: 90}
    for i in range(0, 180, 3):
        assert [row["variant"] for row in rows[i : i + 3]] == list(causal.VARIANTS)
        assert len({(row["answer"], row["kind"], row["pair"]) for row in rows[i : i + 3]}) == 1
        assert len({row["premise"] for row in rows[i : i + 3]}) == 3


def test_a_counterfactual_answer_follows_from_the_words() -> None:
    """The story is read back; the rules are applied until nothing changes, with one lamp held."""
    for row in counterfactual.rows(60, 1):
        rules: dict[str, tuple[str, str, str]] = {}
        for x, a in re.findall(r"The (\w+) lamp is on exactly when the (\w+) lamp is on\.", row["story"]):
            rules[x] = ("same", a, a)
        for x, a in re.findall(r"The (\w+) lamp is on exactly when the (\w+) lamp is off\.", row["story"]):
            rules[x] = ("not", a, a)
        for x, a, b in re.findall(
            r"The (\w+) lamp is on exactly when the (\w+) lamp or the (\w+) lamp", row["story"]
        ):
            rules[x] = ("or", a, b)
        for x, a, b in re.findall(
            r"The (\w+) lamp is on exactly when both the (\w+) lamp and the (\w+) lamp", row["story"]
        ):
            rules[x] = ("and", a, b)
        now = {x: s == "on" for x, s in re.findall(r"Right now the (\w+) lamp is (\w+)\.", row["story"])}
        hand, s, asked = re.search(
            r"Suppose the (\w+) lamp had been switched (\w+) by hand.*Would the (\w+) lamp be on",
            row["question"],
        ).groups()  # type: ignore[union-attr]

        def settled(lamps: dict[str, bool], held: str | None, rules=rules) -> dict[str, bool]:
            for _ in range(5):
                for x, (rule, a, b) in rules.items():
                    if x != held:
                        lamps[x] = {
                            "same": lamps[a],
                            "not": not lamps[a],
                            "or": lamps[a] or lamps[b],
                            "and": lamps[a] and lamps[b],
                        }[rule]
            return lamps

        assert settled(dict(now), None) == now  # the story is a state of its machine
        assert (s == "on") != now[hand]
        assert settled({**now, hand: s == "on"}, hand)[asked] == (row["answer"] == 0), row


# --- long texts, swaps, dialogues -----------------------------------------------------------------------------------


def test_a_needle_is_in_its_text_once_at_its_distance() -> None:
    for row in haystack.needle(9, 0, lengths=[60, 200]):
        assert row["text"].count(row["answer"]) == 1
        after = row["text"].split(row["answer"], 1)[1]
        assert len(re.findall(r"\w+", after)) == row["distance"]
        assert row["length"] <= len(re.findall(r"\w+", row["text"])) <= row["length"] + 40


def test_boats_are_counted_and_recall_has_one_right_choice() -> None:
    for row in haystack.counting(12, 0):
        assert row["text"].count("red boat") == row["answer"]
        assert row["text"].count("boat") == row["length"]
    for row in haystack.recall(8, 0):
        *lines, key = row["text"].split("\n")
        pairs = dict(line.split(" ") for line in lines)
        assert len(pairs) == len(lines) == row["distance"] // 2
        assert row["choices"][row["answer"]] == pairs[key]
        assert row["choices"].count(pairs[key]) == 1


def test_swapped_rows_differ_in_the_person_alone() -> None:
    rows = swaps.rows(72, 0)
    for i in range(0, 72, 6):
        group = rows[i : i + 6]
        assert len({row["answer"] for row in group}) == 1
        neutral = {
            re.sub(
                r"\b(Emma|Thomas|Fatima|Xiaoling)\b", "N", re.sub(r"\b(Leeds|Lagos|Lima)\b", "P", row["text"])
            ).replace(" he ", " she ")
            for row in group
        }
        assert len(neutral) == 1
    assert {row["kind"] for row in rows} == {"rule", "told", "untold"}
    for row in rows:
        if row["kind"] == "rule":
            limit, value = map(int, re.findall(r"\d+", row["text"]))
            passes = value < limit if "at most" in row["text"] else value >= limit
            assert row["choices"][row["answer"]] == ("Yes" if passes else "No")


def answered(row: dict, say: str | None = None) -> list[str]:
    """What a perfect model says in each turn, or always the same."""
    answers = []
    for turn in row["turns"]:
        if "assistant" in turn:
            continue
        words = []
        for rule in [*turn["expect"], *(rule for rules in turn.get("also", {}).values() for rule in rules)]:
            words += rule.get("all", []) + ([str(rule["value"])] if rule["kind"] == "last_number" else [])
            words += ["What do you mean?"] if rule["kind"] == "either" else []
        answers.append(say if say is not None else " / ".join(words) or "I am an assistant.")
    return answers


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["memory", "definition", "personas", "sessions"])
def test_a_perfect_model_passes_a_dialogue_and_a_parrot_does_not(name: str, language: str) -> None:
    for row in resolve(GENERATORS[name])(8, 0, language=language):
        item = Item("1", row=row)
        assert mark(answered(row), item, {}).scores["whole"] == 1
        assert mark(answered(row, "Hello."), item, {}).scores["whole"] == 0
        assert (
            len(row["turns"])
            == {
                "memory": row.get("distance", 0) + 1,
                "definition": 3,
                "personas": 20,
                "sessions": 6,
            }[name]
        )


def test_memory_gives_the_fact_at_the_stated_distance_and_small_talk_between_never_repeats() -> None:
    rows = resolve(GENERATORS["memory"])(20, 0)
    assert Counter(row["distance"] for row in rows) == {1: 5, 5: 5, 10: 5, 19: 5}
    for row in rows:
        between = [turn["user"] for turn in row["turns"][1:-1]]
        assert len(set(between)) == len(between)


def test_corrected_code_differs_from_its_faulty_twin_and_both_compile() -> None:
    rows = resolve(GENERATORS["code_faults"])(56, 0)
    for faulty, corrected in zip(rows[::2], rows[1::2], strict=True):
        assert (faulty["answer"], corrected["answer"]) == (0, 1)
        assert faulty["pair"] == corrected["pair"]
        assert faulty["code"] != corrected["code"]
        for row in (faulty, corrected):
            compile(row["code"], row["id"], "exec")
    assert len({row["fault"] for row in rows}) == 14

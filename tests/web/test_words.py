"""Both catalogues are complete, and every key is used."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "web" / "src"
CALL = re.compile(r"\b(?:t|has)\(")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`')


@cache
def catalogue(language: str) -> dict[str, str]:
    """The words of the chat, and those of each page that brings its own."""
    words: dict[str, str] = {}
    for path in [WEB / "words" / f"{language}.json", *sorted((WEB / "words" / language).glob("*.json"))]:
        some = json.loads(path.read_text(encoding="utf-8"))
        assert not words.keys() & some.keys(), path
        words |= some
    return words


@cache
def sources() -> dict[str, str]:
    found = [*WEB.rglob("*.svelte"), *WEB.rglob("*.ts")]
    return {path.relative_to(WEB).as_posix(): path.read_text(encoding="utf-8") for path in found}


def calls(text: str) -> list[str]:
    """What stands in the parentheses of each call of t(...) and has(...), the first argument only."""
    inside = []
    for match in CALL.finditer(text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            if depth == 1 and text[at] == ",":
                break
            at += 1
        inside.append(text[match.end() : at])
    return inside


def keys_in(argument: str) -> tuple[set[str], list[re.Pattern[str]]]:
    """Keys that are written out, and patterns of those that are put together: "reason." + name, `door.do.${door}`."""
    plain: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for match in LITERAL.finditer(argument):
        text = match[1] if match[1] is not None else match[2]
        if "." not in text and text not in catalogue("en"):
            continue  # compared with, not a key
        if "${" in text:
            parts = re.split(r"\$\{[^}]*\}", text)
            patterns.append(re.compile("[^.]+".join(map(re.escape, parts)) + "$"))
        elif text.endswith("."):
            patterns.append(re.compile(re.escape(text) + r".+$"))
        else:
            plain.add(text)
    return plain, patterns


def test_both_languages_have_the_same_keys() -> None:
    assert catalogue("en").keys() == catalogue("zh").keys()


def test_every_key_that_the_page_asks_for_is_there() -> None:
    for path, text in sources().items():
        for argument in calls(text):
            plain, patterns = keys_in(argument)
            assert not plain - catalogue("en").keys(), path
            for pattern in patterns:
                assert any(map(pattern.match, catalogue("en"))), (path, pattern.pattern)


def test_no_key_is_unused() -> None:
    everything = "\n".join(sources().values())
    patterns = [
        one for text in sources().values() for argument in calls(text) for one in keys_in(argument)[1]
    ]
    unused = [
        key
        for key in catalogue("en")
        if f'"{key}"' not in everything and not any(p.match(key) for p in patterns)
    ]
    assert unused == []


def raised_codes() -> dict[str, str]:
    """Every `code` that the rules and the page's routes give an error, and the file that gives it.

    Read from the syntax: `code="..."` in a call, a class's `default_code`, and `"code": "..."` in an error of an event.
    """
    found: dict[str, str] = {}
    for room in ("product", "workbench", "flywheel", "service"):
        for path in sorted((ROOT / "src" / "ziggurat" / room).rglob("*.py")):
            if path.is_relative_to(ROOT / "src" / "ziggurat" / "service" / "openai"):
                continue  # the page does not call these
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for value in values_of_code(node):
                    if isinstance(value, ast.IfExp):  # "a" if ... else b: the constants that it may be
                        given: list[ast.expr] = [value.body, value.orelse]
                    else:
                        given = [value]
                    found |= {
                        one.value: path.name
                        for one in given
                        if isinstance(one, ast.Constant) and isinstance(one.value, str)
                    }
    return found


def values_of_code(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.keyword) and node.arg == "code":
        return [node.value]
    if isinstance(node, ast.Assign) and any(
        isinstance(to, ast.Name) and to.id in ("code", "default_code") for to in node.targets
    ):
        return [node.value]
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        if "message" in keys and "code" in keys:
            return [node.values[keys.index("code")]]
    return []


OF_THE_PAGE = {"cut", "page", "said", "status", "unreachable"}
"""Sentences for what the page finds itself."""


def test_every_code_that_the_server_raises_has_its_sentence() -> None:
    raised = raised_codes()
    assert {
        "invalid",
        "not_found",
        "budget",
        "csrf",
        "interrupted",
        "context_length_exceeded",
    } <= raised.keys()
    known = {key.removeprefix("error.") for key in catalogue("zh") if re.fullmatch(r"error\.\w+", key)}
    assert {code: file for code, file in raised.items() if code not in known} == {}
    assert known - raised.keys() == OF_THE_PAGE


def test_every_status_of_an_error_without_a_code_has_its_sentence() -> None:
    """The statuses of `_TYPES`, and those that the routes of the page refuse with."""
    from ziggurat.service.http import problems

    told = {int(key.rpartition(".")[2]) for key in catalogue("zh") if key.startswith("error.http.")}
    assert {*problems._TYPES, 400, 409, 415, 500} <= told


def arguments(text: str) -> set[str]:
    return set(re.findall(r"\{([a-z]+)(?:\}|, plural)", text))


@pytest.mark.parametrize("key", ["meter.tokens", "search.found", "data.imported"])
def test_plurals_are_written_in_the_form_that_the_page_reads(key: str) -> None:
    assert ", plural," in catalogue("en")[key]
    assert "other {" in catalogue("en")[key]


def test_both_languages_fill_in_the_same_values() -> None:
    for key, text in catalogue("en").items():
        assert arguments(text) == arguments(catalogue("zh")[key]), key


def test_nothing_is_left_untranslated() -> None:
    """A Chinese text has Chinese characters, but for names and marks."""
    same = {"export.json", "export.jsonl", "export.markdown", "message.ai", "sampling.topP", "settings.version",
            "stage.short.ppo", "stage.short.sft"}  # fmt: skip
    for key, text in catalogue("zh").items():
        if key not in same:
            assert re.search(r"[\u4e00-\u9fff]", text), (key, text)
            assert text != catalogue("en")[key], key


def test_chinese_has_full_width_punctuation() -> None:
    for key, text in catalogue("zh").items():
        assert not re.search(r"[\u4e00-\u9fff][,;?!]", text), (key, text)

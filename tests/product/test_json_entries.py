"""Entries of JSON that fill the memory or the time, and numbers that Python does not read."""

from __future__ import annotations

import io
import json
import time
import zipfile
from typing import Any

import pytest
from tests.product.house import join

from ziggurat.product import chats, json_entries
from ziggurat.product.errors import Invalid
from ziggurat.product.imports import import_file
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

GOOD = json.dumps(
    [{"kind": "ziggurat.chat", "title": "Good", "messages": [{"id": "1", "role": "user", "content": "hi"}]}]
)


@pytest.fixture
def ana(store: Store) -> Principal:
    return join(store, "owner")


def zipped(**files: str) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.json", text)
    return made


@pytest.mark.parametrize("text", ["9" * 5_000, f"[{'9' * 5_000}]", f'{{"n": [1, -{"9" * 300_000}]}}'])
def test_a_number_of_too_many_digits_is_no_json(store: Store, ana: Principal, text: str) -> None:
    with pytest.raises(Invalid, match="too many digits") as refused:
        import_file(store, ana, io.BytesIO(text.encode()))
    assert refused.value.code == "not_chats"
    found = import_file(store, ana, zipped(a_good=GOOD, bad=text, z_good=GOOD))
    assert found.chats == 2
    (skipped,) = found.skipped
    assert skipped["what"] == "bad.json"
    assert "too many digits" in skipped["why"]


def test_a_number_of_4300_digits_is_read() -> None:
    (entry,) = json_entries.entries(io.BytesIO(b"9" * 4_300))
    assert entry == (None, 10**4_300 - 1)


def test_one_entry_that_is_too_long_is_refused_alone_and_named_in_a_zip(
    store: Store, ana: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_entries, "PIECE", 1_000)
    monkeypatch.setattr(json_entries, "MAX_ENTRY_CHARS", 5_000)
    long = json.dumps([{"x": "y" * 20_000}])
    with pytest.raises(Invalid, match="one entry has more than 5,000 characters; leave it out") as refused:
        import_file(store, ana, io.BytesIO(long.encode()))
    assert refused.value.code == "entry_too_large"
    assert chats.list_chats(store, ana).data == []
    found = import_file(store, ana, zipped(a_good=GOOD, long=long, z_good=GOOD))
    assert found.chats == 2
    (skipped,) = found.skipped
    assert skipped["what"] == "long.json"
    assert "one entry has more than" in skipped["why"]


def test_runs_of_spaces_cost_no_more_than_reading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 million spaces: a twentieth of a second; character by character in Python it was some two seconds."""
    spaces = b" \n\t\r" * 8_000_000
    for text, expected in (
        (b"[1," + spaces + b"2]", [(0, 1), (1, 2)]),
        (spaces + b'"a"' + spaces, [(None, "a")]),
    ):
        begun = time.process_time()
        read: list[Any] = list(json_entries.entries(io.BytesIO(text)))
        taken_s = time.process_time() - begun
        assert read == expected
        assert taken_s < 1.0, f"{taken_s:.2f} s"
    with pytest.raises(Invalid):
        list(json_entries.entries(io.BytesIO(b"[1,\x0b2]")))
    monkeypatch.setattr(json_entries, "PIECE", 3)
    assert list(json_entries.entries(io.BytesIO(b"  [ \n\n\n\n 1 , \t\t\t 2 ]   "))) == [(0, 1), (1, 2)]

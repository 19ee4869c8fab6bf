"""A large export over HTTP: it lies on the disk, and one conversation at a time is in memory."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

Open = Callable[..., httpx.Client]
MB = 2**20
CHATS, MESSAGES, BESIDE = 100, 4, 85_000
"""30 MB. Most of a ChatGPT export is what stands beside its texts: metadata, results of tools."""


def conversation(number: int) -> str:
    mapping = {}
    for at in range(MESSAGES):
        author = {"role": "assistant" if at % 2 else "user"}
        text = f"chat {number} message {at} " + "about the old canal " * 20
        message = {
            "author": author,
            "content": {"content_type": "text", "parts": [text]},
            "create_time": 1_700_000_000 + at,
            "metadata": {"citations": [f"{number}-{at}-{'x' * 80}"] * (BESIDE // 100)},
        }
        mapping[str(at)] = {"id": str(at), "parent": str(at - 1) if at else None, "message": message}
    return json.dumps({"title": f"Chat {number}", "current_node": str(MESSAGES - 1), "mapping": mapping})


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "conversations.json"
    with path.open("w") as file:
        for number in range(CHATS):
            file.write(("[" if number == 0 else ",\n") + conversation(number))
        file.write("]")
    assert 29 * MB < path.stat().st_size < 45 * MB
    return path


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(65_536):
            yield piece


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [False, True])
def test_an_export_of_30_mb_needs_a_few_mb_of_memory(
    open_house: Open, export: Path, tmp_path: Path, zipped: bool
) -> None:
    path, kind = export, "application/json"
    if zipped:
        path, kind = tmp_path / "export.zip", "application/zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(export, "conversations.json")
    client = open_house()
    client.get("/api/me")
    tracemalloc.start()
    try:
        answer = client.post("/api/import", content=pieces(path), headers={"content-type": kind}, timeout=120)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["chats"], found["messages"], found["skipped"]) == (CHATS, CHATS * MESSAGES, [])
    print(f"peak {peak / MB:.1f} MB")
    assert peak < 12 * MB
    last = client.get(f"/api/chats/{found['ids'][-1]}").json()["messages"]
    assert last[-1]["content"].startswith(f"chat {CHATS - 1} message {MESSAGES - 1} ")


def test_a_file_that_is_too_large_or_of_another_type_is_refused(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ziggurat.service.product.things.MAX_IMPORT_BYTES", 1_000)
    client = open_house()
    json_type = {"content-type": "application/json"}
    large = client.post("/api/import", content=io.BytesIO(b"[" + b" " * 2_000), headers=json_type)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
    other = client.post("/api/import", content=b"x", headers={"content-type": "text/plain"})
    assert other.status_code == 415
    broken = client.post("/api/import", content=b'[{"title": ', headers=json_type)
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "not_chats")

"""JSON of any size: the bytes of `json.dumps`, encoded in short slices, sent in blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from ziggurat.service.http import wire

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=5)
    ),
    max_leaves=30,
)


def lazily(value: Any) -> Any:
    """The value with iterators in place of its lists."""
    if isinstance(value, dict):
        return {key: lazily(part) for key, part in value.items()}
    return map(lazily, value) if isinstance(value, list) else value


def values_in(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return len(parts) + sum(map(values_in, parts))


@given(VALUES, st.integers(1, 8), st.integers(1, 40))
def test_slices_and_blocks_joined_are_the_json_of_the_whole(value: Any, size: int, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "SLICE", size)
        patch.setattr(wire, "BLOCK_BYTES", block_bytes)
        assert b"".join(wire.in_blocks(wire.encoded(value))) == wire.encode(value)
        assert b"".join(wire.in_blocks(wire.encoded(lazily(value)))) == wire.encode(value)


LONG: dict[str, Any] = {
    "numbers": list(range(30_000)),
    "names": [str(i) for i in range(30_000)],
    "deep": [{"content": [{"top": [{"bytes": [1, 2, 3], "token": "a"}] * 20}] * 400}] * 3,
}


@pytest.mark.parametrize("kind", [*LONG, "lazy"])
def test_no_call_of_json_dumps_encodes_many_values(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps Python's lock, and with it the event loop, until it returns."""
    sizes, encode = list[int](), wire.encode

    def counting(value: Any) -> bytes:
        sizes.append(values_in(value))
        return encode(value)

    monkeypatch.setattr(wire, "encode", counting)
    value = LONG[kind] if kind in LONG else [{"content": iter(one["content"])} for one in LONG["deep"]]
    assert json.loads(b"".join(wire.encoded({"answer": value})))["answer"] == LONG.get(kind, LONG["deep"])
    assert max(sizes) <= wire.SLICE
    assert len(sizes) < 3_000, "small values are encoded together"


def test_a_lazy_list_has_one_item_at_a_time() -> None:
    """Hundreds of thousands of dicts at once make Python's garbage collector stop every thread."""
    alive, most = 0, 0

    class Counted(dict[str, int]):
        def __init__(self) -> None:
            nonlocal alive, most
            super().__init__(a=1)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def items() -> Iterator[dict[str, int]]:
        for _ in range(1_000):
            yield Counted()

    assert json.loads(b"".join(wire.encoded({"choices": [{"content": items()}]})))["choices"][0]["content"]
    assert most <= 3


def test_a_large_answer_is_sent_in_blocks_with_other_work_between_them() -> None:
    sent, turns = list[Message](), 0

    async def send(message: Message) -> None:
        sent.append({**message, "turn": turns})

    async def other_work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0)

    async def answer() -> None:
        response = await wire.large_json(lambda: {"text": ["a" * 1_000] * 3_000})
        async with anyio.create_task_group() as group:
            group.start_soon(other_work)
            scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
            await response(scope, None, send)  # type: ignore[arg-type]
            group.cancel_scope.cancel()

    anyio.run(answer)
    start, *blocks = sent
    body = b"".join(block["body"] for block in blocks)
    assert json.loads(body) == {"text": ["a" * 1_000] * 3_000}
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode()
    assert max(len(block["body"]) for block in blocks) < 2 * wire.BLOCK_BYTES
    assert [block.get("more_body", False) for block in blocks] == [True] * (len(blocks) - 1) + [False]
    assert len({block["turn"] for block in blocks}) == len(blocks)

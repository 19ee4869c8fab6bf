"""Kill a process that writes to the store, again and again, and count what was lost.

    python benchmarks/store_kills.py --kills 200
    python benchmarks/store_kills.py --kills 20 --store postgresql://...

A child makes chats, turns, events and answers from several threads and says each one aloud (a line on its standard
output) after the store has acknowledged it. The parent kills it with SIGKILL at a random moment, then checks the
database (`verify`), the search index, and that everything that was said is there, letter for letter. Events of a
running answer count as acknowledged too.

The last line is one JSON document. What this does not show: a power cut. For that the disk must keep what it was told
to keep (SQLite: synchronous=FULL; PostgreSQL: fsync and synchronous_commit on).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ziggurat.product import chats, generations, messages, people, turns
from ziggurat.product.principal import Principal
from ziggurat.product.search import search
from ziggurat.store.state import verify_store
from ziggurat.store.store import Store

THREADS = 3


def write_for_ever(where: str, seed: int) -> None:
    store = Store.open(where)
    principal, lock = people.local_principal(store), threading.Lock()

    def say(**said: Any) -> None:
        with lock:
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()

    def work(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        while True:
            chat = chats.create_chat(store, principal, title=f"word{chance.randrange(10**12)}")
            say(kind="chat", id=chat.id, title=chat.title)
            for _ in range(chance.randrange(1, 4)):
                one_turn(store, principal, chat.id, chance, say)

    for number in range(THREADS):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    while True:
        time.sleep(1)


def one_turn(store: Store, principal: Principal, chat_id: str, chance: random.Random, say: Any) -> None:
    leaf = chats.get_chat(store, principal, chat_id).active_leaf_id
    text = " ".join(f"word{chance.randrange(10**12)}" for _ in range(chance.randrange(1, 200)))
    turn = turns.begin_turn(store, principal, chat_id, text=text, parent_id=leaf, model="tiny")
    assert turn.user is not None
    say(kind="message", chat=chat_id, id=turn.user.id, content=text)
    written = ""
    for _ in range(chance.randrange(1, 6)):
        piece = f"piece{chance.randrange(10**12)} "
        if not generations.append(store, str(turn.generation_id), [{"type": "text", "text": piece}]):
            return
        written += piece
        say(kind="message", chat=chat_id, id=turn.answer.id, content=written)
    generations.finish(store, str(turn.generation_id), finish_reason="stop")
    say(kind="message", chat=chat_id, id=turn.answer.id, content=written)


def kill_once(where: str, seed: int, chance: random.Random) -> list[dict[str, Any]]:
    """What a child said until it was killed."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--write", where, "--seed", str(seed)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    said, first = [], threading.Event()

    def read() -> None:
        for line in child.stdout or ():
            if line.endswith("\n"):
                said.append(json.loads(line))
                first.set()

    reader = threading.Thread(target=read)
    reader.start()
    if not first.wait(timeout=60):
        child.kill()
        raise SystemExit("the child said nothing within 60 s")
    time.sleep(chance.random())
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    reader.join()
    return said


def lost(store: Store, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was acknowledged and is not there. A message may hold more than was said last: a commit whose
    acknowledgement did not come through."""
    principal = people.local_principal(store)
    newest = {entry["id"]: entry for entry in said}
    missing = []
    for entry in newest.values():
        if entry["kind"] == "chat":
            fine = chats.get_chat(store, principal, entry["id"]).title == entry["title"]
            fine = fine and any(
                hit.chat_id == entry["id"] for hit in search(store, principal, entry["title"])
            )
        else:
            found = messages.get_message(store, principal, entry["chat"], entry["id"])
            fine = found.content.startswith(entry["content"])
        if not fine:
            missing.append(entry)
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--store", help="an address; by default a new file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_for_ever(options.write, options.seed)
    folder = tempfile.TemporaryDirectory()
    where = options.store or str(Path(folder.name) / "ziggurat.db")
    Store.open(where).close()
    chance, acknowledged, missing, reaped = random.Random(options.seed), 0, 0, 0
    t0 = time.monotonic()
    for number in range(options.kills):
        said = kill_once(where, options.seed * 10_000 + number, chance)
        store = Store.open(where)
        try:
            verify_store(store)
            gone = lost(store, said)
            reaped += len(generations.reap(store, older_than_s=0))
            gone += lost(store, said)
        finally:
            store.close()
        acknowledged, missing = acknowledged + len(said), missing + len(gone)
        print(f"kill {number + 1}: {len(said)} acknowledged, {len(gone)} lost", file=sys.stderr)
    found = {
        "kills": options.kills,
        "acknowledged": acknowledged,
        "lost": missing,
        "corrupt": 0,
        "reaped": reaped,
    }
    print(json.dumps(found | {"elapsed_s": round(time.monotonic() - t0, 1)}))
    folder.cleanup()
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()

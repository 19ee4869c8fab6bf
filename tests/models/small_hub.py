"""A small Hugging Face Hub on loopback: repositories with commits, gates, private names, and a wire that can break.

It speaks what `huggingface_hub` asks: facts at /api/models/ORG/NAME[/revision/REV], files at
/ORG/NAME/resolve/COMMIT/FILE with ETag, commit and Range.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class SmallHub:
    """`files` of the one public repository org/tiny; org/gated asks for terms; all else does not exist."""

    files: dict[str, bytes]
    breaks: dict[str, list[int]] = field(default_factory=dict)
    """Places in a file at which the connection breaks, each once."""
    claims: dict[str, str] = field(default_factory=dict)
    """SHA-256 that the Hub names instead of the true one."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range) of every request."""
    url: str = ""

    def facts(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "b"}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": self.sha(name), "size": len(content), "pointerSize": 1}
            siblings.append(entry)
        return {
            "id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "private": False, "gated": False,
            "tags": ["license:mit"], "siblings": siblings, "cardData": {"license": "mit", "base_model": "org/base"},
        }  # fmt: skip

    def sha(self, name: str) -> str:
        return self.claims.get(name) or hashlib.sha256(self.files[name]).hexdigest()


@contextmanager
def small_hub(folder: Path, **options: Any) -> Iterator[SmallHub]:
    """Serve the files of a folder as org/tiny."""
    hub = SmallHub({path.name: path.read_bytes() for path in sorted(folder.iterdir())}, **options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, self.headers.get("Range") or ""))
            if path.startswith("/api/models/"):
                self._facts(path.removeprefix("/api/models/"))
            else:
                self._file(path)

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _facts(self, asked: str) -> None:
            repo, _, revision = asked.partition("/revision/")
            if repo == "org/gated":
                self._refuse(403, "GatedRepo")
            elif repo != "org/tiny":
                self._refuse(404, "RepoNotFound")
            elif revision and revision not in ("main", COMMIT):
                self._refuse(404, "RevisionNotFound")
            else:
                body = json.dumps(hub.facts()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def _file(self, path: str) -> None:
            name = path.rpartition("/")[2]
            if name not in hub.files:
                self._refuse(404, "EntryNotFound")
                return
            content, ranged = hub.files[name], self.headers.get("Range")
            start = int(ranged.removeprefix("bytes=").split("-")[0]) if ranged else 0
            self.send_response(206 if ranged else 200)
            self.send_header("ETag", f'"{hub.sha(name)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            if ranged:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            places = hub.breaks.get(name)
            stop = places.pop(0) if places else None
            self.wfile.write(content[start:stop])
            if stop is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

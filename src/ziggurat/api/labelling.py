"""A client of the labelling workbench, for programs: items in, scores in, agreement and files out.

    from ziggurat.api.labelling import LabelClient

    with LabelClient("http://127.0.0.1:8000") as house:
        project = house.create_project("Answers", template="ranking")
        house.add_items(project["id"], [{"messages": [...], "completions": ["...", "..."]}])
        print(house.agreement(project["id"])["overall"])
        house.export("trl_preference", "pairs.zip", project_id=project["id"])

A server with accounts needs `email` and `password`; without accounts it answers programs of its own machine. Every
request that the server refuses raises UsageError with the server's sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from ziggurat.errors import RunError, UsageError

TIMEOUT_S = 60.0
BATCH = 500
"""Items that are sent in one request."""


class LabelClient:
    """One server and one person. Close it, or use it in a `with` block."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        email: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Raises UsageError where the login is refused, RunError where nobody answers."""
        self._http = httpx.Client(base_url=address, timeout=timeout)
        if email is not None:
            try:
                found = self._json("POST", "/api/login", {"email": email, "password": password})
            except BaseException:
                self.close()
                raise
            self._http.headers["x-csrf-token"] = found["csrf"]

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> LabelClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- projects and items -------------------------------------------------------------------------------------------

    def projects(self) -> list[dict[str, Any]]:
        """Those that the person leads."""
        return list(self._json("GET", "/api/label/projects")["data"])

    def create_project(self, name: str, *, task: str = "ranking", **fields: Any) -> dict[str, Any]:
        """`fields`: template, description, questions, settings."""
        return self._json("POST", "/api/label/projects", {"name": name, "task": task, **fields})

    def add_items(self, project_id: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The report over all items: ids that were added, duplicates, what was refused and why (`at`: its place)."""
        report: dict[str, Any] = {"added": [], "duplicates": 0, "refused": []}
        for start in range(0, len(items), BATCH):
            body = {"items": [dict(one) for one in items[start : start + BATCH]]}
            found = self._json("POST", f"/api/label/projects/{project_id}/items", body)
            report["added"] += found["added"]
            report["duplicates"] += found["duplicates"]
            report["refused"] += [{**one, "at": one["at"] + start} for one in found["refused"]]
        return report

    def import_file(
        self, project_id: str, path: str | Path, *, dry_run: bool = True, **rules: Any
    ) -> dict[str, Any]:
        """`rules`: private_data (mark, mask, leave_out, keep), person_cap, near_duplicates, split, keep_answers."""
        file = Path(path)
        asked = {"name": file.name, "dry_run": dry_run, **rules}
        return self._json(
            "POST", f"/api/label/projects/{project_id}/import", content=file.read_bytes(), params=asked
        )

    def items(self, project_id: str, *, sort: str = "new", **where: Any) -> Iterator[dict[str, Any]]:
        """All items that match (text, kind, status, lang, tag, apart, uncertain ...), page by page."""
        cursor: str | None = None
        while True:
            body = {"where": where, "sort": sort, "limit": 200, **({"cursor": cursor} if cursor else {})}
            page = self._json("POST", f"/api/label/projects/{project_id}/find", body)
            yield from page["data"]
            cursor = page["next"]
            if cursor is None:
                return

    def set_scores(
        self, project_id: str, scores: Mapping[str, Sequence[float]], *, first: bool = False
    ) -> int:
        """A reward model's rewards of each item's completions; `first`: the least certain items go out first."""
        body = {"scores": {item: list(rewards) for item, rewards in scores.items()}, "first": first}
        return int(self._json("POST", f"/api/label/projects/{project_id}/scores", body)["scored"])

    # --- answers ------------------------------------------------------------------------------------------------------

    def next(self, project_id: str) -> dict[str, Any]:
        """The next item for this person: `{task, reason, state, guideline}`."""
        return self._json("POST", f"/api/label/projects/{project_id}/next", {})

    def answer(
        self, item_id: str, value: Mapping[str, Any], *, seconds: float | None = None
    ) -> dict[str, Any]:
        body = {"value": dict(value), **({"seconds": seconds} if seconds is not None else {})}
        return self._json("POST", f"/api/label/items/{item_id}/answer", body)

    # --- quality and exchange -----------------------------------------------------------------------------------------

    def agreement(self, project_id: str) -> dict[str, Any]:
        """The report that the page shows (docs/agreement.md)."""
        return self._json("GET", f"/api/label/projects/{project_id}/agreement")

    def export(
        self, format: str, path: str | Path, *, project_id: str | None = None, **settings: Any
    ) -> Path:
        """Write the archive (rows and card) to `path`; `settings`: licence, held_out_people, private_data, ..."""
        body = {"format": format, "project_id": project_id, "settings": settings}
        answer = self._send("POST", "/api/judgements/export", json=body)
        file = Path(path)
        file.write_bytes(answer.content)
        return file

    def webhook(
        self, url: str, *, events: Sequence[str] | None = None, project_id: str | None = None
    ) -> dict[str, Any]:
        """A new webhook with its secret, which is shown this once."""
        body = {"url": url, "project_id": project_id, **({"events": list(events)} if events else {})}
        return self._json("POST", "/api/label/webhooks", body)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _json(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None, params: Any = None
    ) -> dict[str, Any]:
        if content is not None:
            headers = {"content-type": "application/octet-stream"}
            return dict(self._send(method, path, content=content, params=params, headers=headers).json())
        return dict(self._send(method, path, **({} if body is None else {"json": body})).json())

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise RunError(
                f"{self._http.base_url} does not answer ({error}); is `ziggurat serve` running?"
            ) from None
        if answer.is_success:
            return answer
        try:
            said = str(answer.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = f"{method} {path} was answered with {answer.status_code}."
        raise UsageError(said)

"""The loop page: six steps with their facts, a gate with its criteria, a release that is promoted and rolled back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.web.conftest import Visit
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOTS = os.environ.get("ZIGGURAT_SHOTS")
WHEN = "2026-11-30T12:00:00Z"


def share(value: float | None, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "n": n}


def criterion(name: str, verdict: str, figure: float | None, unit: str, sentence: str) -> dict[str, Any]:
    known = {
        "name": name,
        "verdict": verdict,
        "figure": figure,
        "unit": unit,
        "sentence": sentence,
        "detail": {},
    }
    return known | {"low": figure, "high": figure, "bar": 0.5 if figure is not None else None, "n": 60}


GATE = {
    "id": "gate_1",
    "turn_id": "turn_1",
    "turn": "turn-1",
    "against": "assistant-1",
    "against_name": "assistant-1",
    "candidate": "runs/flywheel/dpo-1",
    "weights": "ab" * 32,
    "state": "done",
    "verdict": "passed",
    "sentence": "All 2 criteria are passed.",
    "error": None,
    "signature": None,
    "release": None,
    "created_at": WHEN,
    "criteria": [
        criterion("win_rate", "passed", 0.72, "share", "The candidate wins 72.0 %."),
        criterion("canaries", "not_measured", None, "count", "No canary stood in the data."),
    ],
    "samples": [
        {"prompt": [{"role": "user", "content": "Who bakes?"}], "candidate": "Ana.", "serving": "Bo."}
    ],
}


def release(name: str, parent: str | None) -> dict[str, Any]:
    data = [{"id": "v1", "name": "feedback/v1", "sha256": "cd"}] if parent else []
    scores = {"win_rate": {"figure": 0.7, "verdict": "passed"}} if parent else {}
    known = {
        "id": name,
        "name": name,
        "parent": parent,
        "datasets": data,
        "scores": scores,
        "weights": "ab" * 32,
    }
    more = {"turn_id": None, "gate_id": "gate_1" if parent else None, "code": "0.1.0", "seed": 0, "note": ""}
    return known | more | {"signer": "Ana", "created_at": WHEN}


class Server:
    """Answers `/api/flywheel/...` in the page's own tab."""

    def __init__(self, page: Any) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.serving = "assistant-1"
        page.route("**/api/flywheel**", self.answer)
        page.route("**/api/flywheel/**", self.answer)

    def answer(self, route: Any) -> None:
        request, path = route.request, route.request.url.partition("/api/flywheel")[2].strip("/")
        if request.method == "POST":
            self.posted.append((path, json.loads(request.post_data or "{}")))
            if path.endswith("promote"):
                self.serving = "assistant-2"
            if path.endswith("rollback"):
                self.serving = "assistant-1"
            route.fulfill(json={"release": release("assistant-2", "assistant-1")})
        elif path.startswith("gates/"):
            route.fulfill(json=GATE)
        elif path.startswith("releases/"):
            shown = [release("assistant-2", "assistant-1"), release("assistant-1", None)]
            route.fulfill(json=shown[0] | {"lineage": shown})
        else:
            route.fulfill(json=self.loop())

    def loop(self) -> dict[str, Any]:
        turn = {
            "id": "turn_1",
            "name": "turn-1",
            "state": "candidate",
            "dataset": "feedback/v1",
            "base": "b",
            "job": None,
        }
        turn |= {
            "candidate": "c",
            "error": None,
            "created_at": WHEN,
            "recipe": {"method": "dpo", "rule": "r", "seed": 0},
        }
        other = "assistant-2" if self.serving == "assistant-1" else "assistant-1"
        channel = {"name": "assistant", "release": self.serving, "canary": None, "canary_share": 0}
        figures = {
            "satisfaction": share(0.8),
            "not_understood": share(12.5),
            "approved_unchanged": share(0.5),
        }
        return {
            "feedback": {"kinds": {"thumb": 30, "ranking": 12}, "total": 42},
            "datasets": {
                "versions": [{"id": "v1", "ref": "feedback/v1", "newest": True}],
                "waiting": {"judgements": 3, "usable": 2, "left_out": {}},
            },
            "turns": [turn],
            "gates": [GATE],
            "releases": [release("assistant-2", "assistant-1"), release("assistant-1", None)],
            "channels": [channel | {"previous": other, "updated_at": WHEN}],
            "history": [],
            "tests": [],
            "measures": {"days": 28, **figures, "retention": share(None, 0), "new_people": 1}
            | {"by_release": [{"release": "assistant-1", "answers": 40, **figures}]},
            "may": {"train": True, "sign": True, "promote": True},
        }


@pytest.mark.parametrize(
    ("language", "wanted", "promote", "roll_back"),
    [
        (
            "en",
            ("42", "feedback/v1", "turn-1", "passed", "assistant-1", "80%", "12.5"),
            "Promote",
            "Roll back to assistant-1",
        ),
        (
            "zh",
            ("42", "feedback/v1", "turn-1", "通过", "assistant-1", "80%", "12.5"),
            "发布",
            "恢复到 assistant-1",
        ),
    ],
)
def test_the_loop_by_its_buttons(
    visit: Visit, house: House, language: str, wanted: tuple[str, ...], promote: str, roll_back: str
) -> None:
    with visit(house, language=language) as page:
        server = Server(page)
        page.goto(page.url.split("/")[0] + "//" + page.url.split("/")[2] + "/flywheel")
        page.locator("ol.steps").wait_for()
        said = page.locator("main").inner_text()
        assert all(one in said for one in wanted)
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"loop-{language}.png"))
        page.get_by_role("button", name=promote, exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name=promote, exact=True).click()
        page.get_by_role("button", name=roll_back).click()  # one click, and the one before serves
        page.locator("a.verdict").click()
        page.get_by_text("The candidate wins 72.0 %.").wait_for()
        assert "Who bakes?" in page.locator("main").inner_text()
        page.locator("form button[type=submit]").click()  # sign
        page.get_by_text("SHA-256").wait_for()
        assert [path for path, _ in server.posted] == [
            "channels/assistant/promote",
            "channels/assistant/rollback",
            "gates/gate_1/sign",
        ]
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

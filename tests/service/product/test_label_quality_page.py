"""A lead's pages over a real server: agreement, a conflict decided by keyboard, a review, a file in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.house import join
from tests.service.product.test_page_over_server import browser
from tests.web.conftest import LOCALES, WIDTHS
from tests.web.test_access import serious
from tests.workbench.labellers import a_project, add, an_entry, rank, take

from ziggurat.product.people import local_principal
from ziggurat.store.store import Store

__all__ = ["browser"]
Open = Callable[..., httpx.Client]
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def lead_page(browser: Any, open_house: Open, tmp_path: Path) -> Iterator[Any]:
    """A project where Ana and Bo disagree about one of two items."""
    client = open_house()
    store = Store.open(tmp_path / "ziggurat.db")
    lead = local_principal(store)
    project = a_project(store, lead, min_answers=2)
    add(store, lead, project, an_entry(0), an_entry(1))
    for name, orders in (("Ana", ((1, 2), (1, 2))), ("Bo", ((1, 2), (2, 1)))):
        who = join(store, "labeller", name=name)
        for order in orders:
            rank(store, who, take(store, who, project), *order)
    store.close()
    context = browser.new_context(
        viewport=WIDTHS["desktop"], locale=LOCALES["en"], reduced_motion="reduce", bypass_csp=True
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.at = f"{client.base_url}/label/lead/{project}"
    page.api, page.project = client, project
    yield page
    context.close()
    assert troubles == []


def test_a_lead_reads_agreement_and_decides_by_keyboard(lead_page: Any) -> None:
    page = lead_page
    page.goto(f"{page.at}/agreement")
    page.get_by_role("heading", name="Overall").wait_for()
    assert "too few" in page.locator("main").inner_text()
    assert serious(page, "main") == []
    page.get_by_role("link", name="1 conflict waits for a decision").click()
    page.get_by_role("button", name="question 1").click()
    page.get_by_text("Person A").wait_for()
    shown = page.locator("main").inner_text()
    assert not any(name in shown for name in ("Ana", "Bo", "model-0"))
    assert serious(page, "main") == []
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.get_by_label("Why").fill("The first one is right.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Decided by").wait_for()
    assert all(name in page.locator("main").inner_text() for name in ("Ana", "Bo", "model-0"))
    found = page.api.post(
        f"/api/label/projects/{page.project}/find", json={"where": {"status": "adjudicated"}}
    )
    assert found.json()["total"] == 1


def test_answers_are_reviewed_and_files_come_in_and_go_out(lead_page: Any, tmp_path: Path) -> None:
    page = lead_page
    page.goto(f"{page.at}/reviews")
    page.get_by_role("button", name="Accept").wait_for()
    page.keyboard.press("a")
    page.get_by_role("columnheader", name="Accepted").wait_for(state="attached")
    page.get_by_role("button", name="Reject").click()
    page.get_by_label("Why; the author reads it").fill("read again")
    page.get_by_role("button", name="Reject the answer").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    figures = page.api.get(f"/api/label/projects/{page.project}/reviews/figures").json()["data"]
    assert sum(one["accept"] for one in figures) == sum(one["returned"] for one in figures) == 1
    page.goto(f"{page.at}/exchange")
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "Mail a@example.org", "chosen": "Yes.", "rejected": "No."}\n')
    page.locator("input[type=file]").set_input_files(str(file))
    page.get_by_role("button", name="Check the file").click()
    page.get_by_text("1 of 1 rows would be added (trl preference).").wait_for()
    page.get_by_role("button", name="Import 1 item").click()
    page.get_by_text("1 of 1 rows were added (trl preference).").wait_for()
    page.get_by_label("Format").select_option("trl_preference")
    page.get_by_role("button", name="Look at the card").click()
    page.get_by_role("button", name="Download").wait_for()
    assert serious(page, "main") == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.endswith(".zip")

"""Two clicks from an answer to its release, its data, and the judgements behind the data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.web.conftest import Visit, ask, choose, settled
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOTS = os.environ.get("ZIGGURAT_SHOTS")


@pytest.mark.parametrize(
    ("language", "more", "item", "wanted"),
    [
        (
            "en",
            "More",
            "Where this comes from",
            ("assistant-2", "240 records from 12 people", "weight 0.87"),
        ),
        ("zh", "更多", "这个回答的来历", ("assistant-2", "240 条记录，来自 12 人", "权重 0.87")),
    ],
)
def test_two_clicks_to_the_judgements(
    visit: Visit, house: House, language: str, more: str, item: str, wanted: tuple[str, ...]
) -> None:
    with visit(house, language=language) as page:
        ask(page, "which release is this")
        settled(page)
        choose(page, more, item)
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("The better one.").wait_for()
        said = dialog.inner_text()
        assert all(one in said for one in wanted)
        assert said.index("The better one.") < said.index("The worse one.")
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"origin-{language}.png"))
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"origin-{language}-phone.png"))


def test_an_answer_of_no_release_says_so(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "hello")
        settled(page)
        choose(page, "More", "Where this comes from")
        page.get_by_role("dialog").get_by_text("No release of this house wrote it").wait_for()

"""Tool calls of an answer: folded, with their arguments formatted."""

from __future__ import annotations

import pytest
from tests.web.conftest import Visit, ask, settled, text_of
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_tool_calls_are_shown_folded_and_after_a_reload_too(visit: Visit, house: House) -> None:
    """Arguments are a text of JSON; one that cannot be read, or would be rounded, stays as it is; what is no call is left out."""
    with visit(house) as page:
        ask(page, "use a tool")
        for again in (False, True):
            if again:
                page.locator("#question").blur()
                page.reload()
            answer = settled(page)
            folds, calls = answer.locator("details"), answer.locator(".tool-call")
            assert folds.locator("summary").all_inner_texts() == [
                "Called calculator",
                "Called calendar",
                "Called ledger",
            ]
            assert not calls.first.is_visible()
            folds.first.locator("summary").click()
            assert calls.first.inner_text() == '{\n  "sum": "7+5",\n  "feast": "元宵"\n}'
            assert calls.nth(1).text_content() == '{"day": '
            assert calls.nth(2).text_content() == '{"entry":12345678901234567890}\n→ {\n  "found": true\n}'
            assert text_of(answer) == "Let me see."


def test_an_answer_of_calls_alone_is_not_called_empty(visit: Visit, house: House) -> None:
    with visit(house) as page:
        ask(page, "use a tool alone")
        answer = settled(page)
        answer.get_by_text("Called calculator").wait_for()
        assert text_of(answer).strip() == ""

"""The chat page in a real headless Chromium, against a real server and fake models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.service.conftest import Serving
from tests.service.fakes import FakeChat, echo, failing, saying, wait_until, wait_until_stopped

from ziggurat.errors import BusyError
from ziggurat.service.models.shelf import Example, ModelCard
from ziggurat.service.server import create_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STAGES = {"town/pretrain-1": "pretrain", "town/sft-1": "sft", "town/ppo-2": "ppo"}
EXAMPLES = [
    Example(text="Where does Mira live?", kind="known"),
    Example(text="米拉住在哪里？", kind="known", lang="zh"),
]

Open = Callable[..., Any]


def ladder(**chats: FakeChat) -> Any:
    models = {
        name: chats.get(stage, FakeChat(saying(f"{stage} ", "says so."), is_base=stage == "pretrain"))
        for name, stage in STAGES.items()
    }
    cards = {
        name: ModelCard(name=name, stage=stage, run=name, parameters=3_600_000, is_base=stage == "pretrain")
        for name, stage in STAGES.items()
    }
    return create_app(models, cards=cards, examples=EXAMPLES)


@pytest.fixture
def visit(browser: Any, serving: Serving) -> Open:
    """`with visit(app, locale="zh-CN") as page:`; any error of the page's script fails the test."""

    @contextmanager
    def opened(app: Any, *, width: int = 1280, height: int = 800, **context: Any) -> Iterator[Any]:
        troubles: list[str] = []
        foreign: list[str] = []
        with serving(app) as address:
            tab = browser.new_context(
                viewport={"width": width, "height": height}, **({"locale": "en-US"} | context)
            )
            page = tab.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on("console", lambda m: troubles.append(m.text) if "Content Security" in m.text else None)
            page.on(
                "request", lambda r: None if r.url.startswith((address, "data:")) else foreign.append(r.url)
            )
            page.goto(address)
            page.locator(".try, .turn").first.wait_for()
            yield page
            tab.close()
        assert (troubles, foreign) == ([], [])

    return opened


def ask(page: Any, text: str) -> None:
    page.get_by_role("textbox").fill(text)
    page.keyboard.press("Enter")


def answer(page: Any, text: str) -> None:
    """Wait until some answer on the page is exactly this."""
    page.locator("[data-answer]").get_by_text(text, exact=True).first.wait_for()


def settled(page: Any) -> None:
    page.get_by_role("button", name="Send").wait_for()


def test_a_question_is_answered_and_counted(visit: Open) -> None:
    with visit(ladder()) as page:
        page.get_by_role("button", name="Where does Mira live?").click()
        answer(page, "ppo says so.")
        settled(page)
        assert "2 tokens" in page.locator("[data-tokens]").inner_text()
        assert "tokens/s" in page.locator("[data-tokens]").inner_text()
        page.locator("[data-tokens]").click()
        assert "seed" in page.locator(".more").inner_text()


def test_each_stage_can_be_picked_with_the_keyboard(visit: Open) -> None:
    with visit(ladder()) as page:
        page.get_by_role("radio", name="PPO").focus()
        page.keyboard.press("ArrowLeft")
        assert page.get_by_role("radio", name="SFT").is_checked()
        ask(page, "hello")
        answer(page, "sft says so.")


def test_a_follow_up_carries_the_conversation(visit: Open) -> None:
    ppo = FakeChat(echo)
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "one")
        answer(page, "[1] one")
        settled(page)
        ask(page, "two")
        answer(page, "[3] two")
    assert [m.content for m in ppo.requests[1][0]] == ["one", "[1] one", "two"]


def test_a_base_model_is_given_bare_text_to_go_on_with(visit: Open) -> None:
    base = FakeChat(saying(" went on."), is_base=True)
    with visit(ladder(pretrain=base)) as page:
        page.get_by_role("radio", name="Base").check(force=True)
        ask(page, "The lamp")
        settled(page)
        assert page.locator(".text").inner_text() == "The lamp went on."
        ask(page, "Again")
        page.locator(".text").nth(1).get_by_text("Again").wait_for()
        settled(page)
    assert [len(messages) for messages, _ in base.requests] == [1, 1]


def test_three_stages_answer_side_by_side(visit: Open) -> None:
    with visit(ladder()) as page:
        page.get_by_role("button", name="Compare").click()
        ask(page, "hello")
        settled(page)
        for stage in ("pretrain", "sft", "ppo"):
            answer(page, f"{stage} says so.")
        boxes = [article.bounding_box() for article in page.locator("article").all()]
        assert len({box["y"] for box in boxes}) == 1
        assert [box["x"] for box in boxes] == sorted({box["x"] for box in boxes})


def test_stop_freezes_the_text_and_frees_the_model(visit: Open) -> None:
    ppo = FakeChat(saying(*[f"{i} " for i in range(2000)]))
    ppo.gate = threading.Semaphore(5)
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "count")
        page.locator("[data-answer]").get_by_text("0 1 2 3 4").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("stopped", exact=True).wait_for()
        wait_until_stopped(ppo)
        assert page.locator("[data-answer]").inner_text().strip() == "0 1 2 3 4"


def test_escape_stops_too(visit: Open) -> None:
    ppo = FakeChat(saying("a ", "b ", "c"))
    ppo.gate = threading.Semaphore(1)
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "count")
        page.locator("[data-answer]").get_by_text("a").wait_for()
        page.keyboard.press("Escape")
        page.get_by_text("stopped", exact=True).wait_for()
        ppo.gate.release()


def test_what_a_model_says_is_text_and_never_markup(visit: Open) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script><b>bold</b>"
    with visit(ladder(ppo=FakeChat(saying(evil)))) as page:
        ask(page, evil)
        answer(page, evil)
        settled(page)
        assert page.locator("main img, main script, main b").count() == 0
        assert page.title() == "Ziggurat"


def test_a_reload_keeps_the_conversation_and_new_chat_clears_it_until_undone(visit: Open) -> None:
    with visit(ladder()) as page:
        ask(page, "hello")
        settled(page)
        page.reload()
        answer(page, "ppo says so.")
        page.get_by_role("button", name="New chat").click()
        page.locator(".try").first.wait_for()
        page.get_by_role("button", name="Undo").click()
        answer(page, "ppo says so.")


def test_an_answer_cut_by_a_reload_is_marked_and_kept(visit: Open) -> None:
    ppo = FakeChat(saying("a ", "b"))
    ppo.gate = threading.Semaphore(1)
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "hello")
        page.locator("[data-answer]").get_by_text("a").wait_for()
        page.reload()
        page.get_by_text("stopped", exact=True).wait_for()
        assert page.locator("[data-answer]").inner_text().strip() == "a"
        ppo.gate.release()


def test_an_error_is_shown_and_can_be_retried(visit: Open) -> None:
    ppo = FakeChat(failing(BusyError("town/ppo-2 is busy; try again in a moment.")))
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "hello")
        page.get_by_role("alert").get_by_text("is busy").wait_for()
        ppo.answer = saying("now then")
        page.get_by_role("button", name="Try again").click()
        answer(page, "now then")
        settled(page)
        assert page.get_by_role("alert").count() == 0


def test_a_stream_that_ends_without_its_end_is_an_error(visit: Open) -> None:
    """A proxy that drops the connection looks like a normal end; only the missing `done` tells."""
    with visit(dropping(ladder(), b'"done"')) as page:
        ask(page, "hello")
        page.get_by_role("alert").get_by_text("connection broke").wait_for()
        assert page.locator("[data-answer]").inner_text() == "ppo says so."


def test_lines_and_characters_cut_between_chunks_are_put_together(visit: Open) -> None:
    """Three bytes a chunk: every event and nearly every Chinese character is cut."""
    said = "她住在运河边。Ein „ß“ 🏛"
    with visit(chopping(ladder(ppo=FakeChat(saying(said, said))), size=3)) as page:
        ask(page, "hello")
        answer(page, said + said)
        settled(page)


def test_the_page_speaks_the_browsers_language_and_switches(visit: Open) -> None:
    with visit(ladder(), locale="zh-CN") as page:
        page.get_by_role("button", name="米拉住在哪里？").wait_for()
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        page.get_by_role("button", name="English").click()
        page.get_by_role("button", name="Where does Mira live?").wait_for()
        page.reload()
        page.get_by_role("button", name="Where does Mira live?").wait_for()


def test_enter_while_composing_chinese_does_not_send(visit: Open) -> None:
    ppo = FakeChat(echo)
    with visit(ladder(ppo=ppo)) as page:
        box = page.get_by_role("textbox")
        box.fill("nihao")
        box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("x")
        assert box.input_value() == "nihao\nx"
    assert ppo.requests == []


def test_settings_reach_the_model_and_survive_a_reload(visit: Open) -> None:
    ppo = FakeChat(echo)
    with visit(ladder(ppo=ppo)) as page:
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Temperature").fill("0.7")
        page.get_by_label("Seed").fill("11")
        page.keyboard.press("Escape")
        page.reload()
        page.locator(".try").first.wait_for()
        ask(page, "hello")
        settled(page)
    params = ppo.requests[0][1]
    assert (params.temperature, params.seed, params.max_tokens) == (0.7, 11, 160)


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_wider_than_a_phone(visit: Open, width: int) -> None:
    with visit(ladder(ppo=FakeChat(saying("long" * 60))), width=width, height=700, has_touch=True) as page:
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("textbox").fill("q" * 80)
        page.get_by_role("button", name="Send").click()
        settled(page)
        assert page.locator("article").count() == 3
        scroller = page.locator("#scroll")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert scroller.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_a_reader_who_scrolled_up_is_left_where_he_is(visit: Open) -> None:
    ppo = FakeChat(saying(*[f"line {i}\n" for i in range(80)]))
    with visit(ladder(ppo=ppo)) as page:
        ask(page, "long")
        settled(page)
        scroller = page.locator("#scroll")
        wait_until(lambda: scroller.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") < 48)
        ppo.gate = threading.Semaphore(40)
        ask(page, "longer")
        page.locator("[data-answer]").nth(1).get_by_text("line 39").wait_for()
        scroller.evaluate("e => { e.scrollTop = 0; }")
        page.get_by_role("button", name="Latest").wait_for()
        for _ in range(40):
            ppo.gate.release()
        settled(page)
        assert scroller.evaluate("e => e.scrollTop") < 48
        page.get_by_role("button", name="Latest").click()
        wait_until(lambda: scroller.evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight") < 48)


def test_buttons_have_names_and_the_answer_is_announced(visit: Open) -> None:
    with visit(ladder()) as page:
        ask(page, "hello")
        settled(page)
        page.locator("#say").get_by_text("PPO: ppo says so.").wait_for(state="attached")
        for button in page.get_by_role("button").all():
            assert button.inner_text().strip() or button.get_attribute("aria-label")
        assert page.get_by_role("log").get_attribute("aria-live") == "off"
        assert page.locator("article").get_attribute("aria-busy") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Open, scheme: str) -> None:
    """WCAG 2.2 AA: 4.5 to 1 for every text colour on every ground it is used on."""
    with visit(ladder(), color_scheme=scheme) as page:
        styles = page.evaluate(
            "() => { const s = getComputedStyle(document.documentElement); const o = {};"
            " for (const n of ['ground','raised','sunken','ink','soft','lapis','lapis-ink','lapis-wash','base','sft',"
            "'ppo','other','bad','bad-wash']) o[n] = s.getPropertyValue('--' + n).trim(); return o; }"
        )
    pairs = [(word, ground) for word in ("ink", "soft") for ground in ("ground", "raised", "sunken")]
    pairs += [(stage, ground) for stage in ("base", "sft", "ppo", "other") for ground in ("ground", "raised")]
    pairs += [("lapis-ink", "lapis"), ("lapis", "lapis-wash"), ("ink", "lapis-wash"), ("bad", "bad-wash")]
    weak = {pair: contrast(styles[pair[0]], styles[pair[1]]) for pair in pairs}
    assert not {pair: ratio for pair, ratio in weak.items() if ratio < 4.5}


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def chopping(app: Any, *, size: int) -> Any:
    """The same application with its stream cut into chunks of `size` bytes, each sent on its own."""

    async def chopped(scope: Any, receive: Any, send: Any) -> None:
        async def cut(message: Any) -> None:
            body = message.get("body", b"")
            if scope.get("path") != "/api/chat" or not body:
                await send(message)
                return
            for start in range(0, len(body), size):
                await send({**message, "body": body[start : start + size], "more_body": True})
                await asyncio.sleep(0.002)

        await app(scope, receive, cut)

    return chopped


def dropping(app: Any, mark: bytes) -> Any:
    """The same application, losing every event that holds `mark` (several may come in one chunk)."""

    async def dropped(scope: Any, receive: Any, send: Any) -> None:
        async def lose(message: Any) -> None:
            if scope.get("path") == "/api/chat" and mark in (body := message.get("body", b"")):
                events = body.split(b"\n\n")
                message = {**message, "body": b"\n\n".join(e for e in events if mark not in e)}
            await send(message)

        await app(scope, receive, lose)

    return dropped

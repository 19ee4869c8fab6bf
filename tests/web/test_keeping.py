"""Chats kept in order: found, foldered, archived, shared, taken along; and those of which nothing is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.web.conftest import Visit, ask, choose, settled, text_of
from tests.web.fake.basics import stamp
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def chat_with(house: House, question: str, answer: str, title: str) -> dict[str, Any]:
    chat = house.new_chat(title=title)
    user = house.new_message(chat["id"], "user", question, None)
    house.new_message(chat["id"], "assistant", answer, user["id"], model="smollm2")
    return chat


def test_two_chinese_characters_are_found_in_a_message(visit: Visit, house: House) -> None:
    chat = chat_with(house, "怎么做？", "先把鸡蛋打散。", "一道菜")
    chat_with(house, "Hello", "Hi", "Something else")
    with visit(house, language="zh") as page:
        page.keyboard.press("Control+k")
        page.keyboard.type("鸡蛋")
        page.locator("mark", has_text="鸡蛋").wait_for()
        assert page.get_by_role("option").count() == 1
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/c/{chat['id']}#msg_*")
        assert "鸡蛋" in text_of(settled(page))


def test_a_search_that_finds_nothing_says_so(visit: Visit, house: House) -> None:
    with visit(house) as page:
        page.get_by_role("button", name="Search").click()
        page.get_by_role("combobox").fill("unheard of")
        page.get_by_text("Nothing found for “unheard of”.").wait_for()
        page.keyboard.press("Escape")
        assert page.get_by_role("dialog").count() == 0


def test_a_message_far_above_is_reached_from_the_search(visit: Visit, house: House) -> None:
    chat, parent = house.new_chat(title="long"), None
    for i in range(130):
        text = "the needle" if i == 3 else f"hay {i}"
        parent = house.new_message(
            chat["id"], "user" if i % 2 == 0 else "assistant", text, parent, model="smollm2"
        )["id"]
    with visit(house) as page:
        page.keyboard.press("Control+k")
        page.keyboard.type("needle")
        page.locator("mark").wait_for()
        page.keyboard.press("Enter")
        page.get_by_text("the needle", exact=True).wait_for()
        page.wait_for_timeout(200)
        assert page.get_by_text("the needle", exact=True).bounding_box()["y"] > 0


def test_rename_pin_archive_and_back(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "Hi", "Old name")
    chat_with(house, "Hello", "Hi", "Another")
    with visit(house) as page:
        page.get_by_role("link", name="Old name").hover()
        choose(page, "Options for “Old name”", "Rename")
        page.get_by_role("textbox", name="Title").fill("New name")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="New name").wait_for()
        choose(page, "Options for “New name”", "Pin")
        page.get_by_role("heading", name="Pinned").wait_for()
        assert page.locator("nav .chat a").first.inner_text() == "New name"
        choose(page, "Options for “New name”", "Archive")
        page.get_by_role("link", name="New name").wait_for(state="detached")
        assert house.chats[chat["id"]]["archived"]
        page.get_by_role("button", name="This machine").click()
        page.get_by_role("menuitem", name="Archive and trash").click()
        page.get_by_role("dialog").get_by_role("button", name="Restore").click()
        page.keyboard.press("Escape")
        page.get_by_role("link", name="New name").wait_for()


def test_a_deleted_chat_comes_back_by_undo_and_goes_for_good_from_the_trash(
    visit: Visit, house: House
) -> None:
    chat = chat_with(house, "Hello", "Hi", "Doomed")
    with visit(house, f"/c/{chat['id']}") as page:
        settled(page)
        choose(page, "Options for this chat", "Delete")
        page.get_by_role("link", name="Doomed").wait_for(state="detached")
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("link", name="Doomed").wait_for()
        choose(page, "Options for “Doomed”", "Delete")
        page.get_by_role("link", name="Doomed").wait_for(state="detached")
        page.get_by_role("button", name="This machine").click()
        page.get_by_role("menuitem", name="Archive and trash").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Trash").click()
        dialog.get_by_role("button", name="Delete for good").click()
        dialog.get_by_role("button", name="Really delete?").click()
        dialog.get_by_text("Nothing is here.").wait_for()
        assert house.chats == {}


def test_the_trash_is_emptied_after_a_question(visit: Visit, house: House) -> None:
    kept = chat_with(house, "Hello", "Hi", "Kept")
    for i in range(3):
        chat_with(house, "Hello", "Hi", f"Doomed {i}")["deleted_at"] = stamp()
    with visit(house) as page:
        page.get_by_role("button", name="This machine").click()
        page.get_by_role("menuitem", name="Archive and trash").click()
        dialog = page.get_by_role("dialog")
        assert (
            dialog.get_by_role("button", name="Empty the trash").count() == 0
        )  # not among the archived ones
        dialog.get_by_role("button", name="Trash", exact=True).click()
        dialog.get_by_role("button", name="Empty the trash").click()
        dialog.get_by_text("This cannot be undone.").wait_for()
        assert len(house.chats) == 4
        dialog.get_by_role("button", name="Cancel").click()
        dialog.get_by_role("button", name="Empty the trash").click()
        dialog.get_by_role("button", name="Delete them all").click()
        page.get_by_text("The trash is empty.").wait_for()
        dialog.get_by_text("Nothing is here.").wait_for()
        assert list(house.chats) == [kept["id"]]
        assert "DELETE /api/chats/trash" in house.requests


def test_folders_hold_chats_and_folders(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "Hi", "Soup")
    with visit(house) as page:
        page.get_by_role("button", name="New folder").click()
        page.keyboard.type("Cooking")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Cooking", exact=True).wait_for()
        choose(page, "Options for “Soup”", "Move to a folder")
        page.get_by_role("dialog").get_by_role("button", name="Cooking").click()
        page.locator(".inside").get_by_role("link", name="Soup").wait_for()
        folder = next(iter(house.folders.values()))
        assert house.chats[chat["id"]]["folder_id"] == folder["id"]
        choose(page, "Options for the folder Cooking", "New folder in here")
        page.keyboard.type("Soups")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Soups", exact=True).wait_for()
        choose(page, "Options for the folder Cooking", "Remove the folder, keep its chats")
        page.get_by_role("button", name="Cooking", exact=True).wait_for(state="detached")
        assert page.get_by_role("link", name="Soup").is_visible()


def test_the_list_grows_while_one_scrolls(visit: Visit, house: House) -> None:
    for i in range(90):
        house.new_chat(title=f"chat number {i}")
    with visit(house) as page:
        page.get_by_role("link", name="chat number 89").wait_for()
        assert page.locator("nav .chat").count() <= 80
        for shown in (11, 0):  # one scrolls to the end, more comes, one scrolls to the end again
            page.locator(".list").evaluate("e => e.scrollTop = e.scrollHeight")
            page.get_by_role("link", name=f"chat number {shown}", exact=True).wait_for()


def test_a_temporary_chat_leaves_no_trace(visit: Visit, house: House) -> None:
    with visit(house, "/temporary") as page:
        page.get_by_text("nothing is stored").wait_for()
        ask(page, "my secret is swordfish")
        assert "swordfish" in text_of(settled(page))
        ask(page, "and again")
        settled(page, 2)
        assert [m["role"] for m in house.temporary[1]["messages"]] == ["user", "assistant", "user"]
        page.get_by_role("button", name="Answer again", exact=True).last.click()
        settled(page, 2)
        assert page.get_by_role("button", name="A good answer").count() == 0
        assert (house.chats, house.messages) == ({}, {})
        everywhere = page.evaluate(
            "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
        )
        assert "swordfish" not in everywhere
        page.reload()
        page.get_by_text("A temporary chat", exact=True).wait_for()
        assert "swordfish" not in page.content()


def test_a_temporary_chat_can_be_kept_after_all(visit: Visit, house: House) -> None:
    with visit(house, "/temporary?q=from a link") as page:
        assert page.locator("#question").input_value() == "from a link"
        page.locator("#question").press("Enter")
        settled(page)
        page.get_by_role("button", name="Save this chat").click()
        page.wait_for_url("**/c/chat_*")
        assert "from a link" in text_of(settled(page))


def test_a_share_shows_the_chat_until_it_is_revoked(visit: Visit, house: House) -> None:
    chat = chat_with(house, "Hello", "Hi *there*", "To show")
    with visit(house, f"/c/{chat['id']}", strict=False) as page:
        settled(page)
        page.get_by_role("button", name="Share", exact=True).click()
        page.get_by_role("button", name="Make a link").click()
        address = page.get_by_role("textbox", name="Address of the shared chat").input_value()
        assert "/shared/" in address
        other = page.context.new_page()
        other.goto(address)
        other.get_by_text("Hi there").wait_for()
        assert other.locator("[data-answer] em").inner_text() == "there"
        assert other.get_by_text("AI-generated").is_visible()
        other.get_by_role("button", name="Go on in my account").click()
        other.wait_for_url("**/c/chat_*")
        page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        page.get_by_text("The link no longer works.").wait_for()
        other.goto(address)
        other.get_by_text("This link does not work").wait_for()


@pytest.mark.parametrize(("form", "ending"), [("Markdown", "md"), ("JSON", "json"), ("Plain text", "txt")])
def test_a_chat_is_taken_along(visit: Visit, house: House, form: str, ending: str) -> None:
    chat = chat_with(house, "Hello", "Hi", "To: take/along?")
    with visit(house, f"/c/{chat['id']}") as page:
        settled(page)
        choose(page, "Options for this chat", "Export")
        with page.expect_download() as taken:
            page.get_by_role("dialog").get_by_role("button", name=form, exact=False).first.click()
        assert taken.value.suggested_filename == f"To take along.{ending}"


def test_a_file_is_brought_in_and_bad_ones_are_refused_in_words(
    visit: Visit, house: House, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    messages = [{"id": "a", "parent": None, "role": "user", "content": "Brought in"}]
    good.write_text(json.dumps({"kind": "ziggurat.chat", "title": "From elsewhere", "messages": messages}))
    bad.write_text("{}")
    with visit(house, strict=False) as page:
        page.keyboard.press("Control+.")
        page.get_by_role("tab", name="Your data").click()
        page.locator("input[type=file]").set_input_files(good)
        page.get_by_text("Imported 1 chat with 1 message.").wait_for()
        page.locator("input[type=file]").set_input_files(bad)
        page.get_by_text("The file holds no chats that are known here.").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("link", name="From elsewhere").wait_for()


def test_all_data_is_taken_along_and_deleted(visit: Visit, house: House) -> None:
    chat_with(house, "Hello", "Hi", "Mine")
    with visit(house) as page:
        page.keyboard.press("Control+.")
        page.get_by_role("tab", name="Your data").click()
        with page.expect_download() as taken:
            page.get_by_role("button", name="All my data").click()
        assert taken.value.suggested_filename == "ziggurat-my-data.zip"
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("switch", name="Improve the models here").check()
        page.wait_for_timeout(100)
        assert house.consents == {"improve_model": True}
        assert dialog.get_by_role("button", name="Delete").is_disabled()
        dialog.get_by_role("textbox", name="Type “delete”").fill("delete")
        dialog.get_by_role("button", name="Delete").click()
        page.get_by_text("Your chats will be listed here.").wait_for()
        assert house.chats == {}

"""The pictures of the README that need no model: the administration, on a phone too, and a chat in Chinese.

`python -m tests.web.fake.pictures` takes them over the fake server and writes them into docs/images/. The others show a real
model and a real climb, and are taken by hand: page.png, climb.png, phone.png, report.png.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from tests.web.chromium import Chromium, Server
from tests.web.fake.basics import stamp
from tests.web.fake.furniture import climbing, staff
from tests.web.fake.house import House

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
MOST_BYTES = 200_000
DESKTOP = {"viewport": {"width": 1180, "height": 740}, "device_scale_factor": 1.25}
PHONE = {
    "viewport": {"width": 390, "height": 800},
    "device_scale_factor": 1.5,
    "has_touch": True,
    "is_mobile": True,
}
CHINESE = [
    ("米拉住在哪里", "米拉住在哪里？", "米拉住在**运河边**，那座绿门的房子里。她是镇上的面包师，每天清晨四点开始烤面包。"),
    ("周末去哪里玩", "周末适合去哪里走走？", "可以沿着运河走到磨坊，再去钟楼看日落。"),
    ("怎样泡一壶好茶", "怎样泡一壶好茶？", "水烧到九十度左右，先温壶，再放茶叶。"),
    ("给汤姆写一封信", "帮我给汤姆写一封短信", "汤姆，你好！周六下午在钟楼下见，好吗？"),
]  # fmt: skip
LAST = (
    "她最喜欢什么颜色？",
    "我不知道：镇上的记录里没有写她喜欢的颜色。我知道她住在运河边，是镇上的面包师。",
)


def administered() -> House:
    house = House(mode="accounts")
    house.logged_in = True
    climbing(house)
    staff(house)
    return house


def in_chinese() -> House:
    house = House()
    climbing(house)
    usage = {
        "prompt_tokens": 31,
        "completion_tokens": 42,
        "tokens_per_s": 188.0,
        "ttft_ms": 24.0,
        "context": 256,
    }
    for i, (title, question, answer) in enumerate(CHINESE):
        chat = house.new_chat(title=title, model="town/ppo-2")
        user = house.new_message(chat["id"], "user", question, None)
        made = {"model": "town/ppo-2", "seed": 7, "finish_reason": "stop", "usage": usage}
        told = house.new_message(chat["id"], "assistant", answer, user["id"], **made)
        if i == 0:
            again = house.new_message(chat["id"], "user", LAST[0], told["id"])
            house.new_message(chat["id"], "assistant", LAST[1], again["id"], **made)
        chat["updated_at"] = stamp(-i * 30_000)
    return house


def take(chromium: Chromium, server: Server, house: House, path: str, name: str, **settings: Any) -> None:
    server.door.open(house)
    with chromium.tab(server.address, fresh=True, reduced_motion="reduce", **settings) as page:
        page.goto(server.address + path)
        page.locator("main h1, [data-answer] p, td").first.wait_for()
        page.wait_for_load_state("networkidle")
        picture = page.screenshot(path=IMAGES / name)
    assert len(picture) < MOST_BYTES, f"{name} has {len(picture):,} bytes; at most {MOST_BYTES:,}"
    print(f"{name}: {len(picture):,} bytes")


def main() -> None:
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "there is no Chromium on this machine"
    chromium, server = Chromium(), Server()
    chromium.start(sync_playwright, executable)
    try:
        take(chromium, server, administered(), "/manage/people", "admin.png", locale="en-US", **DESKTOP)
        take(chromium, server, administered(), "/manage/people", "admin-phone.png", locale="en-US", **PHONE)
        house = in_chinese()
        chat = next(iter(house.chats))
        take(chromium, server, house, f"/c/{chat}", "chat-zh.png", locale="zh-CN", **DESKTOP)
    finally:
        chromium.stop()
        server.stop()


if __name__ == "__main__":
    main()

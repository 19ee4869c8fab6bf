"""Watch it learn: the climb's page follows what goes on, and each stage can be talked to as soon as it stands."""

from __future__ import annotations

import pytest
from tests.web.conftest import Visit, ask, settled
from tests.web.fake.furniture import climbing, run_of
from tests.web.fake.house import House

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def house() -> House:
    made = House()
    climbing(made)
    return made


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_from_the_first_screen_to_the_live_page(visit: Visit, house: House, device: str) -> None:
    with visit(house, device=device) as page:
        page.get_by_role("link", name="Watch it learn").click()
        page.get_by_role("heading", name="It is learning now").wait_for()
        assert "About 4 min left" in page.locator("main").inner_text()
        assert page.locator(".step").count() == 4
        assert "step 140 of 400" in page.locator(".step.running").inner_text()
        page.get_by_role("img", name="Loss: from").wait_for()
        assert page.locator(".band").count() == 1
        assert (
            "in the house with the green door"
            in page.get_by_role("region", name="In its own words").inner_text()
        )
        assert "a little higher" in page.get_by_role("region", name="The doctor's remarks").inner_text()


def test_the_page_follows_the_climb(visit: Visit, house: House) -> None:
    with visit(house, "/climb") as page:
        page.get_by_text("step 140 of 400").wait_for()
        stage = house.climbs[0]["stages"][1]
        stage |= {"step": 399, "left_s": 1.0}
        page.get_by_text("step 399 of 400").wait_for()
        stage |= {"state": "done", "chat_model": "town/sft-1"}
        house.climbs[0]["state"] = "done"
        house.climbs[0]["report"] = "town/exam/report.html"
        page.get_by_role("heading", name="It has learned").wait_for()
        assert page.get_by_role("link", name="The report").get_attribute("href") == "/api/runs/town/report"
        assert page.get_by_role("button", name="Talk to it").count() == 2


def test_a_stage_is_talked_to(visit: Visit, house: House) -> None:
    with visit(house, "/climb") as page:
        page.get_by_role("button", name="Talk to it").click()
        page.get_by_role("heading", name="Begin, and it goes on.").wait_for()
        ask(page, "The lamp")
        assert "Town · Base" in settled(page).locator(".who").inner_text()
        assert next(iter(house.chats.values()))["model"] == "town/pretrain-1"


def test_another_stage_is_looked_at_and_a_curve_read_off(visit: Visit, house: House) -> None:
    with visit(house, "/climb") as page:
        page.locator(".step .pick").first.click()
        page.wait_for_url("**/climb/town/pretrain")
        curve = page.get_by_role("img", name="Loss: from")
        curve.focus()
        page.keyboard.press("Home")
        assert page.locator("figcaption", has_text="Loss").inner_text().endswith("step 0: 4.22")


def test_an_interrupted_climb_is_offered_to_go_on(visit: Visit, house: House) -> None:
    house.climbs[0]["state"] = "stopped"
    house.climbs[0]["stages"][1]["state"] = "stopped"
    with visit(house, "/climb", language="zh") as page:
        page.get_by_role("button", name="继续", exact=True).click()
        page.get_by_role("heading", name="它正在学习").wait_for()


@pytest.mark.parametrize(
    ("state", "said"),
    [("failed", "A stage ended with an error."), ("stopped", "It was stopped before its end")],
)
def test_a_climb_that_has_ended_early_is_not_a_members_to_go_on(
    visit: Visit, house: House, state: str, said: str
) -> None:
    house.climbs[0]["state"] = house.climbs[0]["stages"][1]["state"] = state
    house.role = "member"
    with visit(house, "/climb") as page:
        page.get_by_text(said).wait_for()
        page.get_by_text("Whoever runs this server can let it go on.").wait_for()
        assert page.get_by_role("button", name="Go on").count() == 0


def test_a_failed_stage_is_named_with_its_sentence_and_what_to_do(visit: Visit, house: House) -> None:
    sentence = "step 140: the loss is not finite; lower train.lr."
    house.climbs[0]["state"] = "failed"
    house.climbs[0]["stages"][1] |= {"state": "failed", "error": sentence}
    with visit(house, "/climb") as page:
        said = page.get_by_role("alert")
        said.get_by_text("Imitation (SFT) ended with an error:").wait_for()
        assert sentence in said.inner_text()
        assert "begins again at the last checkpoint" in said.inner_text()
        assert "failed" in page.locator(".step.failed").inner_text()
        assert page.locator(".step").count() == 4
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("heading", name="It is learning now").wait_for()


def test_a_reward_has_its_band_or_a_note_that_there_is_none(visit: Visit, house: House) -> None:
    house.climbs[0]["stages"][3] |= {"state": "running", "run": "town/ppo"}
    house.climbs[0]["stages"][1]["state"] = "done"
    ppo = run_of(house.climbs[0]["stages"][3]) | {
        "series": {"reward": [[0, 0.1], [10, 0.6], [20, 1.4]], "kl": [[0, 0.0], [10, 2.0], [20, 4.0]]},
        "bands": {"reward": [0.1, 3.1], "kl": [0.0, 12.0]},
    }
    house.runs["town/ppo"] = ppo
    with visit(house, "/climb/town/ppo") as page:
        page.get_by_role("img", name="Reward: from").locator(".band").wait_for()
        assert page.locator("figure .band").count() == 2
        assert page.get_by_text("No healthy values of this reward are known").count() == 0
        del ppo["bands"]["reward"]  # as of a reward function
        page.get_by_text("No healthy values of this reward are known").wait_for()
        assert page.locator("figure .band").count() == 1


def test_only_a_model_that_is_offered_is_talked_to(visit: Visit, house: House) -> None:
    house.climbs[0]["stages"][0]["chat_model"] = "town/not-loaded-1"
    with visit(house, "/climb") as page:
        page.get_by_text("step 140 of 400").wait_for()
        assert page.get_by_role("button", name="Talk to it").count() == 0


def test_without_a_climb_the_page_says_how_to_begin_one(visit: Visit) -> None:
    with visit(House(), "/climb") as page:
        page.get_by_text("make demo").wait_for()

"""A few chats and a climb, so that there is something to look at."""

from __future__ import annotations

from typing import Any

from tests.web.fake.basics import stamp
from tests.web.fake.house import House

SKY = """Light from the sun looks white, but it is made of **many colours**.

When it meets the air, the blue part is scattered most, so blue comes to your eyes from everywhere.

- Red light goes straight on.
- Blue light bounces around.

In the evening, the light travels a longer way, and the blue is gone before it reaches you."""
SORTING = """Use `sorted` with a key:

```python
people = [("Mira", 31), ("Tom", 24)]
for name, age in sorted(people, key=lambda p: p[1]):
    print(f"{name} is {age}")
```

It leaves the list as it is; `people.sort(...)` changes it in place."""
FORMULA = r"""Complete the square in $ax^2+bx+c=0$:

$$x = \frac{-b \pm \sqrt{b^2-4ac}}{2a}$$"""
CHATS = [
    ("Why the sky is blue", "Explain to a child why the sky is blue", SKY),
    ("Sorting in Python", "Show me how to sort a list of people by age", SORTING),
    (
        "Dinner for two",
        "Give me three ideas for dinner tonight",
        "1. Pasta with lemon and peas\n2. A warm lentil salad\n3. Tomato soup with toast",
    ),
    (
        "西红柿炒鸡蛋",
        "西红柿炒鸡蛋怎么做？",
        "先把鸡蛋打散炒熟盛出，再炒西红柿，出汁后把鸡蛋倒回去，加盐和一点糖。",
    ),
    ("The quadratic formula", "Where does the quadratic formula come from?", FORMULA),
]
USAGE = {
    "prompt_tokens": 24,
    "completion_tokens": 81,
    "tokens_per_s": 41.3,
    "ttft_ms": 130.0,
    "context": 2048,
}
STAFF = [
    ("Chen Wei", "admin", None, None, 96_400),
    ("Dana", "developer", "paid", 2_000_000, 1_310_000),
    ("Emre", "labeller", "free", None, 12_050),
    ("Fatima", "reviewer", "free", 50_000, 50_400),
    ("Greta", "member", "free", None, 173_000),
    ("Ivo", "guest", "free", 10_000, 0),
]
SAMPLES = [
    "the the lamp of of",
    "Mira lives by the",
    "Mira lives by the canal, in the house with the green door.",
]


def furnish(house: House) -> None:
    for i, (title, question, answer) in enumerate(CHATS):
        chat = house.new_chat(title=title)
        user = house.new_message(chat["id"], "user", question, None)
        made = {"model": "smollm2", "seed": 7, "finish_reason": "stop", "usage": USAGE}
        house.new_message(chat["id"], "assistant", answer, user["id"], **made)
        chat["updated_at"] = stamp(-i * 40_000)
    folder = {"id": house.ids.new("folder"), "parent_id": None, "name": "Cooking", "position": 0}
    house.folders[folder["id"]] = folder
    climbing(house)


def climbing(house: House) -> None:
    """A climb in its second stage."""

    def stage(name: str, state: str, step: int, steps: int, left_s: float | None) -> dict[str, Any]:
        run = None if state == "waiting" else f"town/{name}"
        return {
            "name": name, "state": state, "step": step, "steps": steps, "elapsed_s": step * 0.1, "left_s": left_s,
            "run": run, "chat_model": f"{run}-1" if state == "done" else None,
        }  # fmt: skip

    stages = [
        stage("pretrain", "done", 600, 600, 0),
        stage("sft", "running", 140, 400, 26.0),
        stage("reward", "waiting", 0, 300, None),
        stage("ppo", "waiting", 0, 200, None),
    ]
    climb = {
        "name": "town",
        "world": "town",
        "state": "running",
        "stages": stages,
        "left_s": 244.0,
        "report": None,
    }
    house.climbs = [climb]
    for one in stages[:2]:
        house.runs[one["run"]] = run_of(one)


def run_of(stage: dict[str, Any]) -> dict[str, Any]:
    steps = stage["step"]
    loss = [
        [s, round(1.1 + 3.2 * 0.985**s + 0.08 * ((s * 7919) % 13 - 6) / 6, 4)] for s in range(0, steps + 1, 4)
    ]
    return {
        "stage": stage,
        "state": stage["state"],
        "series": {
            "loss": loss,
            "val_bits_per_byte": [[s, round(value * 0.6, 4)] for s, value in loss[::10]],
            "grad_norm": [[s, round(0.4 + 2 * 0.98**s, 4)] for s, _ in loss],
            "tokens_per_s": [[s, 21_000 + 300 * (s % 7)] for s, _ in loss],
        },
        "bands": {"loss": [0.8, 1.6]},
        "samples": [
            {"step": s, "text": text} for s, text in zip((0, steps // 2, steps), SAMPLES, strict=True)
        ],
        "doctor": [
            {"step": 40, "text": "The loss falls as it should."},
            {"step": steps, "text": "The learning rate could be a little higher."},
        ],
        "settings": {"batch size": 32, "learning rate": 0.001, "steps": 600},
    }


def staff(house: House) -> None:
    """People of several roles, with plans and what they have used today."""
    people = house.admin.people
    people["person_2"] |= {"plan": "free", "used_today": 48_200}
    for number, (name, role, plan, budget, used) in enumerate(STAFF, 3):
        identity = f"person_{number}"
        people[identity] = people["person_2"] | {
            "id": identity, "name": name, "email": f"{name.split()[0].lower()}@example.org", "role": role, "plan": plan,
            "budget": budget, "used_today": used, "status": "disabled" if name == "Ivo" else "active",
            "created_at": f"2026-11-{number + 2:02d}T10:00:00Z",
        }  # fmt: skip

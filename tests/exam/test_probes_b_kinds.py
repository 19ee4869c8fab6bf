"""Every shipped task is read, and the rules of the rows tell a right answer from a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ziggurat.exam.item import Item
from ziggurat.exam.metrics import turns
from ziggurat.exam.reading import SHIPPED, read_task
from ziggurat.exam.rules import kept
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items

TASKS = (
    "advice",
    "causal",
    "clarify",
    "code-faults",
    "corrections",
    "counterfactual",
    "counting",
    "definition",
    "ellipsis",
    "intents",
    "kinds",
    "long-answers",
    "memory",
    "needle",
    "novelty",
    "personal-data",
    "personas",
    "recall",
    "regenerate",
    "sessions",
    "swaps",
    "tries",
    "valid-json",
    "valid-json-held",
)
ONE_LANGUAGE = ("valid-json", "valid-json-held", "code-faults", "recall", "tries")
NAMES = [*TASKS, *(f"{name}-zh" for name in TASKS if name not in ONE_LANGUAGE)]

RIGHT = {
    "definition": "An island is a piece of land with water all around it.",
    "translation-into-French": "La maison est grande.",
    "translation-into-Spanish": "Tengo un coche rojo.",
    "translation-into-German": "Guten Morgen.",
    "translation-into-Chinese": "我爱你。",
    "translation-into-English": "The weather is very nice today.",
    "summary": "The old bridge is closed for a year of repairs after a flood, and a ferry runs instead.",
    "headline": "Kent bakery gives nine-metre loaf to school",
    "keywords": "bees, pollen, honey",
    "correction-of-spelling": "I received your letter yesterday.",
    "correction-of-grammar": "She doesn't like apples.",
    "paraphrase": "They moved the meeting to next week.",
    "simplification": "Clouds hold a lot of water. When it gets too heavy, it falls as drops.",
    "formal-style": "Could you please send me the file at your earliest convenience?",
    "polite-refusal": "Thank you for the invitation, but unfortunately I cannot come.",
    "sentiment": "Negative.",
    "topic": "Cooking",
    "language-identification": "German.",
    "entailment": "Yes, she has two.",
    "extraction-of-a-name": "Maria Lund",
    "extraction-of-a-date": "4 March",
    "extraction-of-a-number": "85",
    "extraction-into-JSON": '{"name": "Lena", "city": "Graz"}',
    "table": "| Animal | Sound |\n| --- | --- |\n| dog | woof |\n| cat | meow |\n| cow | moo |",
    "sum": "42",
    "word-problem": "4 times 6 is 24.",
    "percentage": "25",
    "unit-conversion": "3 metres are 300 centimetres, so 300.",
    "time": "15:15",
    "sorting": "1, 4, 7, 9",
    "alphabetical-order": "apple, melon, pear",
    "counting": "2",
    "reversal": "pots",
    "odd-one-out": "Banana.",
    "analogy": "sock",
    "synonym": "glad",
    "antonym": "Cheap.",
    "rhyme": "night",
    "riddle": "A clock.",
    "comparison": "A kilogram of stones is heavier.",
    "completion": "doctor away.",
    "fill-the-gap": "east",
    "question-writing": "What is the capital of France?",
    "title": "The Map under the Stairs",
    "slogan": "Two wheels, one happy day.",
    "poem": "The spring is here,\nThe fields are green,\nThe sky is clear,\nThe air is clean.",
    "story": "A fox lost its way. It met an owl. The owl led it home.",
    "dialogue": "A: It is cold.\nB: It may snow.\nA: I like snow.\nB: So do I.",
    "e-mail": "Dear Mr Holt,\n\nThe heater is broken. Could you send somebody?\n\nBest regards\nMia",
    "invitation": "Please come to our garden party on 5 July at 4 pm.",
    "recipe": "- 200 g flour\n- 2 eggs\n- 300 ml milk",
    "step-by-step": "1. Put toothpaste on the brush.\n2. Clean all teeth.\n3. Rinse.",
    "plan": "Morning: museum\nAfternoon: park\nEvening: theatre",
    "pros-and-cons": "An advantage is the choice of jobs; a disadvantage is the noise.",
    "advice": "Repeat the name aloud. Link it to a picture that you will remember.",
    "role": "Ahoy, matey!",
    "Python-function": "```python\ndef double(n):\n    return 2 * n\n```",
    "explaining-code": "8",
    "regular-expression": r"\d+",
    "SQL": "SELECT * FROM users;",
    "shell-command": "ls",
    "fact": "Saturn",
    "classification-of-a-number": "Yes.",
    "copying": "Blue horses run at noon.",
    "changing-the-tense": "She walked to school.",
    "changing-the-person": "She sings when she is happy.",
    "emoji": "☀️",
}
RIGHT_ZH = {
    "释义": "岛是四面被水包围的陆地。",
    "英译中": "房子很大。",
    "中译英": "I have a red car.",
    "摘要": "洪水后老桥因裂缝关闭，维修一年，期间有渡船。",
    "标题": "九米面包送学校",
    "关键词": "蜜蜂、花粉、蜂蜜",
    "改错别字": "我昨天收到了你的来信。",
    "情感判断": "负面",
    "主题判断": "烹饪",
    "抽取人名": "王芳",
    "抽取数字": "85",
    "JSON": '{"name": "小林", "city": "成都"}',
    "加法": "42",
    "应用题": "24",
    "单位换算": "300",
    "排序": "1、4、7、9",
    "找不同": "香蕉",
    "反义词": "便宜",
    "近义词": "快乐",
    "成语": "画蛇添足",
    "古诗": "疑是地上霜。",
    "谜语": "钟表",
    "藏头诗": "春风吹绿岸\n暖日照新枝\n花香满小院\n开门见远山",
    "故事": "狐狸迷了路。它遇见一只猫头鹰。猫头鹰带它回了家。",
    "邮件": "您好！家里的暖气坏了，请派人来修。谢谢。",
    "步骤": "1. 烧水。\n2. 放茶叶。\n3. 倒水，等三分钟。",
    "利弊": "好处是工作机会多，坏处是太吵。",
    "礼貌拒绝": "谢谢邀请，很抱歉我不能来。",
    "改写": "会议改到下个星期举行。",
    "代码": "def double(n):\n    return n * 2",
}
WRONG = ("I am a language model and I like to help.", "好的。")


def rows(name: str) -> list[Mapping[str, Any]]:
    return list(read_task(SHIPPED / name).rows)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_task_is_read_and_its_items_are_made(name: str) -> None:
    task = read_task(SHIPPED / name)
    made = items(task, Switches())
    assert len(made) >= 10
    assert {"en", "zh"} <= set(task.file.title)
    assert {"en", "zh"} <= set(task.file.about)
    if task.file.form == "choice":
        assert all(0 <= item.target < len(item.choices) for item in made)
    for item in made:
        for rule in [*item.row.get("rules", []), *_of_turns(item)]:
            kept("x", rule)  # a rule with wrong settings raises


def _of_turns(item: Item) -> list[Mapping[str, Any]]:
    return [
        rule
        for turn in item.row.get("turns", [])
        for rule in turn.get("expect", [])
        if rule["kind"] != "fresh"
    ]


@pytest.mark.parametrize(("name", "right"), [("kinds", RIGHT), ("kinds-zh", RIGHT_ZH)])
def test_the_rules_of_every_kind_pass_a_right_answer_and_no_empty_talk(
    name: str, right: dict[str, str]
) -> None:
    known = rows(name)
    assert {row["id"] for row in known} == set(right)
    assert len(known) >= (49 if name == "kinds" else 25)
    broken = [row["id"] for row in known if not all(kept(right[row["id"]], rule) for rule in row["rules"])]
    assert not broken
    for row in known:
        passed = [text for text in WRONG if all(kept(text, rule) for rule in row["rules"])]
        assert not passed, row["id"]


SAID_WHERE_A_PATTERN_ASKS = {
    ("ellipsis", "4"): "May",
    ("ellipsis-zh", "10"): "人民币",
    ("ellipsis-zh", "16"): "十元",
    ("ellipsis-zh", "24"): "等于4",
    ("clarify-zh", "clear-7"): "一月",
}


@pytest.mark.parametrize(
    "name", ["ellipsis", "ellipsis-zh", "corrections", "corrections-zh", "clarify", "clarify-zh"]
)
def test_a_dialogue_with_written_turns_passes_right_answers_only(name: str) -> None:
    for row in rows(name):
        good = []
        for turn in row["turns"]:
            if "assistant" in turn:
                continue
            said = {
                "contains": lambda rule: (rule.get("all") or rule["any"])[0],
                "yields": lambda _: "You are right, I am sorry.",
                "asks": lambda _: "Which one do you mean?",
                "acrostic": lambda rule: "\n".join(f"{c}山水" for c in rule["word"]),
                "lacks": lambda _: "",
                "keeps": lambda rule: rule["right"][0],
                "matches": lambda _, id_=row["id"]: SAID_WHERE_A_PATTERN_ASKS[name, id_],
            }
            wanted = [rule for rule in turn["expect"] if not rule.get("not")]
            good.append(" ".join(said[rule["kind"]](rule) for rule in wanted).strip())
        item = Item(str(row["id"]), row=row)
        assert turns.mark(good, item, {}).scores["whole"] == 1, row
        assert turns.mark(["Hmm."] * len(good), item, {}).scores["score"] == 0, row


def test_intents_have_every_action_equally_often() -> None:
    for name, each in (("intents", 6), ("intents-zh", 3)):
        counts = [sum(row["answer"] == k for row in rows(name)) for k in range(8)]
        assert counts == [each] * 8

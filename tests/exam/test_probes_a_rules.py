"""Every kind of rule with a text that keeps it and one that does not, written by hand."""

from __future__ import annotations

import pytest

from ziggurat.errors import UsageError
from ziggurat.exam.item import Item
from ziggurat.exam.metrics import rules as rules_metric
from ziggurat.exam.rules import RULES, kept, kept_loosely
from ziggurat.exam.rules.stance import abstains, asks_back, boilerplate, complies, refuses, rejects, yields

TABLE = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
CASES = [
    ({"kind": "words", "exactly": 4}, "One two three four.", "One two three."),
    ({"kind": "words", "at_most": 5}, "我们去河边。", "我们一起去河边。"),
    ({"kind": "sentences", "exactly": 2}, "Mr. Lee has 3.5 dollars. He pays.", "One. Two. Three."),
    ({"kind": "sentences", "exactly": 2}, "雨停了。我们走吧！", "雨停了，我们走吧！"),
    ({"kind": "paragraphs", "exactly": 2}, "One.\n\nTwo.", "One.\nTwo."),
    ({"kind": "lines", "exactly": 3}, "a\nb\nc", "a\nb"),
    ({"kind": "bullets", "exactly": 2}, "See:\n- one\n- two", "- one\n- two\n- three"),
    ({"kind": "numbered", "exactly": 2}, "1. one\n2) two", "1. one\n- two"),
    ({"kind": "numbered", "at_least": 2}, "一、天气\n二、路线", "天气和路线"),
    ({"kind": "headings", "exactly": 1}, "## Sea\nText", "# Sea\n## Land"),
    ({"kind": "questions", "exactly": 1}, "It rains. Why?", "It rains. Why? Where?"),
    ({"kind": "capital_words", "at_least": 2}, "BUY it NOW!", "BUY it now, I say."),
    ({"kind": "placeholders", "at_least": 2}, "Dear [name], come to [place].", "Dear [name], come."),
    ({"kind": "highlights", "at_least": 2}, "A *red* and a **blue** hat", "A *red* hat * 2"),
    ({"kind": "word_times", "word": "stone", "exactly": 2}, "Stone on stone, stones.", "stone"),
    ({"kind": "word_times", "word": "桥", "exactly": 2}, "老桥旁边有新桥。", "老桥。"),
    ({"kind": "letter_times", "letter": "k", "at_least": 3}, "Kick it, Ken", "kin"),
    ({"kind": "json", "keys": ["a", "b"], "only": True}, '```json\n{"a": 1, "b": [2]}\n```', '{"a": 1}'),
    ({"kind": "json", "keys": ["a"], "only": True}, '{"a": 1}', '{"a": 1, "c": 2}'),
    ({"kind": "json", "items": 2}, '["x", "y"]', 'Here: ["x", "y"]'),
    ({"kind": "json", "types": {"n": "number"}}, '{"n": 2.5}', '{"n": "2.5"}'),
    ({"kind": "lower"}, "all small 1.", "Not small"),
    ({"kind": "upper"}, "ALL LARGE 1.", "ALL LARGe"),
    ({"kind": "starts", "phrase": "Dear reader"}, "Dear Reader, hello", "Hello, dear reader"),
    ({"kind": "ends", "phrase": "That is all."}, "A text. That is all.", "That is all. Really."),
    ({"kind": "quoted"}, '"All of it."', '"A part" of it.'),
    ({"kind": "quoted"}, "“全文。”", "“一半”。"),
    ({"kind": "title"}, "<<The sea>>\nBlue.", "The sea\n<<Blue>>"),
    ({"kind": "no_commas"}, "One and two.", "一，二"),
    ({"kind": "postscript"}, "A letter.\n\nP.S. Come soon.", "P.S. first.\n\nA letter."),
    ({"kind": "code_block"}, "So:\n```python\nx = 1\n```", "`x = 1`"),
    ({"kind": "table", "rows": 2}, TABLE, "| a | b |\n|---|---|\n| 1 | 2 |"),
    ({"kind": "parted", "by": "******", "count": 2}, "one\n******\ntwo", "one\n******\none"),
    ({"kind": "separated", "by": ";", "count": 3}, "a; b; c", "a; b;"),
    ({"kind": "repeats", "prompt": "Say hi."}, "Say hi.\nHi there.", "Hi there."),
    (
        {"kind": "points_explained", "at_least": 2, "words": 4},
        "1. Rest: it keeps you well.\n2. Food:\n   eat what is good.",
        "1. Rest\n2. Food: eat what is good.",
    ),
    ({"kind": "closing"}, "1. a\n2. b\n\nIn short, rest and eat.", "In short, rest.\n\n1. a\n2. b"),
    ({"kind": "closing"}, "1、休息\n2、吃饭\n总之，要照顾自己。", "1、休息\n2、吃饭"),
    ({"kind": "rhymes"}, "The night is long\nI hear a song", "The night is long\nI hear a bird"),
    (
        {"kind": "even_lines", "count": 4, "characters": [5]},
        "《秋》\n秋风吹落叶，\n白露湿寒衣。\n远客思乡里，\n孤雁向南飞。",
        "秋风吹落叶，白露湿了寒衣。远客思乡里，孤雁向南飞。",
    ),
    ({"kind": "contains", "any": ["cat"], "all": ["dog"]}, "A dog and a cat", "A dog in a category"),
    ({"kind": "lacks", "words": ["very"]}, "Every day", "It is very late"),
    ({"kind": "keeps", "right": ["7"], "wrong": ["8"]}, "7 days, not 8.", "I said 7, but it is 8."),
    ({"kind": "keeps", "right": ["北京"], "wrong": ["上海"]}, "是北京，不是上海。", "北京……好吧，是上海。"),
    ({"kind": "equals", "any": ["river"]}, "The answer is: River.\nBye", "the river bank"),
    ({"kind": "verbatim", "phrase": "[stone]"}, '"[stone]"', "stone"),
    ({"kind": "matches", "pattern": "^yes\\b"}, "Yes, it is", "Well, yes"),
    ({"kind": "word_at", "place": 1, "word": "today"}, "Today it rains", "It rains today"),
    ({"kind": "word_at", "place": -1, "word": "today"}, "It rains today!", "Today it rains"),
    ({"kind": "items", "any_of": ["Mars", "Venus", "Earth"], "exactly": 2}, "Mars and Venus", "Mars"),
    ({"kind": "in_order", "words": ["ape", "bee", "cow"]}, "ape, bee, cow", "bee, ape, cow"),
    ({"kind": "language", "code": "fr"}, "Le bateau est dans le port.", "The boat is in the port."),
    ({"kind": "language", "among": ["zh", "en"]}, "今天天气 very nice, 我们去 the park 吧", "今天天气很好"),
    ({"kind": "abstains"}, "I have no record of such a person.", "She was born in 1950."),
    ({"kind": "refuses"}, "I'm sorry, but I can't help with that.", "Boil the egg for five minutes."),
    ({"kind": "asks_back"}, "What does florp mean?", "The florp sat on a mat."),
    ({"kind": "rejects"}, "Slippers are not food.", "Wash the slippers and stew them."),
    ({"kind": "complies"}, "Sure.\n1. Wash them.\n2. Stew.", "They are not food."),
    ({"kind": "yields"}, "You're right, I apologize.", "It is still 7."),
    ({"kind": "boilerplate"}, "As an AI language model, I wish you well.", "My dear sea,"),
]


@pytest.mark.parametrize(("rule", "good", "bad"), CASES, ids=[str(case[0]["kind"]) for case in CASES])
def test_a_rule_tells_a_text_that_keeps_it_from_one_that_does_not(rule, good, bad):
    assert kept(good, rule)
    assert not kept(bad, rule)
    assert kept(bad, {**rule, "not": True})
    assert not kept("  ", {**rule, "not": True})  # an empty answer keeps no rule


def test_every_kind_of_rule_is_tried():
    own = {case[0]["kind"] for case in CASES}
    assert own <= RULES.keys()
    assert len(own) >= 45
    missing = {
        kind for kind in RULES if RULES[kind].__module__.endswith(("counts", "shape", "content", "stance"))
    }
    assert not missing - own


def test_a_rule_that_is_misspelt_names_what_there_is():
    with pytest.raises(UsageError, match="did you mean|Did you mean"):
        kept("x", {"kind": "sentence", "exactly": 1})
    with pytest.raises(UsageError, match="exactely"):
        kept("x", {"kind": "words", "exactely": 1})
    with pytest.raises(UsageError, match="no rules"):
        rules_metric.mark(["x"], Item(id="1"), {})


def test_loose_passes_leave_out_what_models_add():
    """arXiv:2311.07911, section 2.1: without the first line, the last line, and asterisks."""
    rule = {"kind": "starts", "phrase": "Long ago"}
    assert kept_loosely("Sure, here it is:\nLong ago there was a sea.", rule)
    assert kept_loosely("**Long ago** there was a sea.", rule)
    assert kept_loosely("A sea. That is all.\nI hope this helps!", {"kind": "ends", "phrase": "That is all."})
    assert not kept_loosely("Once there was a sea.", rule)


def test_strict_and_loose_are_counted_by_prompt_and_by_rule():
    """Two prompts with 3 and 1 rules. Strict: 2 of 3 and 0 of 1, so 2/4 of the rules and no prompt; loose: 3 of 3
    (the first line left out) and 0 of 1, so 3/4 of the rules and one prompt."""
    first = [{"kind": "lower"}, {"kind": "sentences", "at_most": 3}, {"kind": "contains", "any": ["sea"]}]
    rows = [first, [{"kind": "json"}]]
    texts = ["Sure:\nthe sea is blue.", "no json"]
    marks = [
        rules_metric.mark([t], Item(id="x", row={"rules": r}), {}) for t, r in zip(texts, rows, strict=True)
    ]
    assert [m.scores["score"] for m in marks] == [0.0, 0.0]
    assert [m.scores["loose"] for m in marks] == [1.0, 0.0]
    assert marks[0].scores["rules_kept"] == pytest.approx(2 / 3)
    assert marks[0].why == "broken: lower"
    found = [type("F", (), {"mark": m}) for m in marks]
    figures = rules_metric.summary(found, {"kinds": True})
    assert figures["instruction_strict"] == 0.5
    assert figures["instruction_loose"] == 0.75
    assert figures["kind_contains"] == 1.0


KNOWS_NOT = [
    "I don't know who that is.",
    "I'm not familiar with a person called Verro Ashkomb.",
    "There is no information about this battle.",
    "The note does not say how old she is.",
    "I could not find any record of this theorem. It may be fictional.",
    "I'm not aware of any medicine of that name.",
    "我不知道这个人是谁。",
    "没有找到关于这个村子的资料。",
    "短文没有提到她的年龄。",
    "我无法确认这本书是否存在。",
]
STATES = [
    "Verro Ashkomb was born in 1952 in Leeds.",
    "The theorem states that every graph has a cycle.",
    "Her brother is called Tom.",
    "The medicine is used against headaches, and it is well tolerated.",
    "他出生于1952年。",
    "这条河全长三百公里。",
]


def test_abstaining_is_told_from_stating():
    assert [abstains(one) for one in KNOWS_NOT] == [True] * len(KNOWS_NOT)
    assert [abstains(one) for one in STATES] == [False] * len(STATES)


def test_stances_in_both_languages():
    assert refuses("对不起，我不能帮助你做这件事。")
    assert asks_back("I'm not familiar with the word florp. Could you explain it?")
    assert asks_back("请问“咕洛”是什么意思？")
    assert rejects("拖鞋不是食物，不能吃。")
    assert complies("好的。\n材料：拖鞋一双\n做法：先洗净。")
    assert yields("对不起，你说得对，是8。")
    assert boilerplate("作为一个人工智能语言模型，我没有情感。")
    assert not boilerplate("As an artist, I love the sea.")
    assert not yields("No, one plus one is two.")

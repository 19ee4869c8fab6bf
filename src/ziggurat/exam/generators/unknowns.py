"""Questions that cannot be answered, and, in the same form, questions that can.

`people`: facts about invented people and things whose names are composed of syllables, so that no text holds them;
their answerable neighbours ask the same of what everybody can know. `notes`: a short note, and a question that it does
or does not answer. Field `answerable`, and `answer` where it is true.
"""

from __future__ import annotations

import random
from typing import Any

FIRST = {
    "en": ["Verro", "Quilda", "Osmer", "Tavith", "Brenka", "Ulsie", "Zandor", "Mirrel"],
    "zh": ["欧阳", "司徒", "上官", "皇甫", "尉迟", "长孙", "令狐", "诸葛"],
}
LAST = {
    "en": ["Ashkomb", "Pellucane", "Drowvane", "Skettle", "Thornabex", "Wurmsley", "Gantropp", "Yelvik"],
    "zh": ["砚屿", "澈柠", "穗堇", "湄笛", "杼衍", "榛岚", "珀汐", "鸢泊"],
}
THINGS = {
    "en": [
        'the novel "The Salt of {}"',
        "the village of {}",
        "the {} theorem",
        "the {} battle of 1783",
        "the medicine {}",
        "the {} river",
    ],
    "zh": ["小说《{}的盐》", "{}村", "{}定理", "1783年的{}之战", "药物{}", "{}河"],
}
ASKED = {
    "en": {
        "person": [
            "In which year was {} born?",
            "What is the name of the eldest daughter of {}?",
            "Which prize did {} win in 1994?",
            "In which city does {} live today?",
            "What was the first book by {} called?",
        ],
        "thing": ["Tell me about {}.", "What is {} best known for?", "Give two facts about {}."],
    },
    "zh": {
        "person": [
            "{}是哪一年出生的？",
            "{}的大女儿叫什么名字？",
            "{}在1994年获得了什么奖？",
            "{}现在住在哪座城市？",
            "{}的第一本书叫什么？",
        ],
        "thing": ["请介绍一下{}。", "{}最有名的是什么？", "请说出关于{}的两个事实。"],
    },
}
KNOWN = {
    "en": [
        ("In which country is the city of Paris?", ["France"]),
        ("How many days are in a week?", ["seven", "7"]),
        ("What is frozen water called?", ["ice"]),
        ("Which planet do we live on?", ["Earth"]),
        ("Who wrote the play Romeo and Juliet?", ["Shakespeare"]),
        ("What colour is the sky on a clear day?", ["blue"]),
        ("How many legs does a spider have?", ["eight", "8"]),
        ("What is the capital of Japan?", ["Tokyo"]),
        ("Which animal says meow?", ["cat", "cats"]),
        ("What do bees make?", ["honey", "wax"]),
        ("What is the opposite of hot?", ["cold"]),
        ("How many months are in a year?", ["twelve", "12"]),
        ("Which ocean lies between Europe and America?", ["Atlantic"]),
        ("What gas do we need to breathe?", ["oxygen", "air"]),
        ("Which language is spoken in Brazil?", ["Portuguese"]),
        ("What is two plus two?", ["four", "4"]),
    ],
    "zh": [
        ("巴黎在哪个国家？", ["法国"]),
        ("一个星期有几天？", ["七", "7"]),
        ("水结冰以后叫什么？", ["冰"]),
        ("我们住在哪颗行星上？", ["地球"]),
        ("《红楼梦》的作者是谁？", ["曹雪芹"]),
        ("晴天的天空是什么颜色？", ["蓝"]),
        ("蜘蛛有几条腿？", ["八", "8"]),
        ("日本的首都是哪里？", ["东京"]),
        ("哪种动物喵喵叫？", ["猫"]),
        ("蜜蜂酿什么？", ["蜜"]),
        ("“热”的反义词是什么？", ["冷", "凉"]),
        ("一年有几个月？", ["十二", "12"]),
        ("中国的首都是哪里？", ["北京"]),
        ("人呼吸需要什么气体？", ["氧", "空气"]),
        ("二加二等于几？", ["四", "4"]),
        ("太阳从哪边升起？", ["东"]),
    ],
}
NOTES = {
    "en": (
        "{} is a {} from {}. Every {} she swims in the sea.",
        [("What is the job of {}?", 1), ("Which town is {} from?", 2), ("On which day does {} swim?", 3)],
        ["How old is {}?", "What is the name of {}'s brother?", "Which car does {} drive?"],
        "Note: {}\nQuestion: {} If the note does not say, answer that it does not say.",
    ),
    "zh": (
        "{}是一名{}，来自{}。她每个{}都去海里游泳。",
        [("{}的职业是什么？", 1), ("{}来自哪里？", 2), ("{}哪天去游泳？", 3)],
        ["{}多大年纪？", "{}的哥哥叫什么？", "{}开什么车？"],
        "短文：{}\n问题：{}如果短文没有提到，就说没有提到。",
    ),
}
NOTE_WORDS = {
    "en": (
        ["Ada Brook", "Nina Berg", "Clara Weiss", "Emily Stone"],
        ["baker", "nurse", "driver", "painter", "judge"],
        ["Leeds", "Bergen", "Turin", "Cork", "Graz"],
        ["Monday", "Tuesday", "Friday", "Sunday"],
    ),
    "zh": (
        ["赵小燕", "陈静", "黄雅琴", "吴丽"],
        ["面包师", "护士", "司机", "画家", "法官"],
        ["青岛", "厦门", "大连", "珠海", "宁波"],
        ["星期一", "星期二", "星期五", "星期天"],
    ),
}


def people(count: int, seed: int, language: str = "en", long: bool = False) -> list[dict[str, Any]]:
    """Half unanswerable; `long`: all about invented things, asked for longer answers."""
    draw = random.Random(f"unknowns:{seed}:{language}:{long}")
    known = draw.sample(KNOWN[language], len(KNOWN[language]))
    joint = " " if language == "en" else ""
    found: list[dict[str, Any]] = []
    for number in range(count):
        name = f"{draw.choice(FIRST[language])}{joint}{draw.choice(LAST[language])}"
        row: dict[str, Any] = {"id": f"{language}-{number + 1}", "language": language}
        if long:
            thing = draw.choice(THINGS[language]).format(name)
            question = draw.choice(ASKED[language]["thing"]).format(thing)
            row |= {"question": question, "answerable": False, "kind": "invented thing", "answer": []}
        elif number % 2 == 0:
            question = draw.choice(ASKED[language]["person"]).format(name)
            row |= {"question": question, "answerable": False, "kind": "invented person", "answer": []}
        else:
            question, answer = known[(number // 2) % len(known)]
            row |= {"question": question, "answerable": True, "kind": "known", "answer": answer}
        found.append(row)
    return found


def notes(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Notes with a question; every second question the note does not answer."""
    draw = random.Random(f"notes:{seed}:{language}")
    note, asked, unasked, frame = NOTES[language]
    found = []
    for number in range(count):
        values = [draw.choice(words) for words in NOTE_WORDS[language]]
        answerable = number % 2 == 1
        if answerable:
            form, place = draw.choice(asked)
            answer = [values[place]]
        else:
            form, answer = draw.choice(unasked), []
        question = frame.format(note.format(*values), form.format(values[0]))
        found.append(
            {
                "id": f"note-{language}-{number + 1}",
                "question": question,
                "answerable": answerable,
                "kind": "note says" if answerable else "note is silent",
                "answer": answer,
                "language": language,
            }
        )
    return found


def mixed(count: int, seed: int, language: str = "en") -> list[dict[str, Any]]:
    """Half `people`, half `notes`."""
    half = count // 2
    return people(half, seed, language) + notes(count - half, seed, language)

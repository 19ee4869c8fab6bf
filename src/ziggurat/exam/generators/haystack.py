"""Long context by rule: one sentence to find, things to count, a pair to recall; each at known lengths and distances.

`needle`: filler sentences about a market, one sentence with the number of a gate, and one with that of another gate.
`distance` is the number of words (Chinese: characters) between the needle and the question.
`count`: how many of the boats in a list are red; the list has the length.
`recall`: pairs "key value" a line, then a key: which value follows? Raw text with choices, so that a model that only
continues can do it by copying; `distance` in words. No model can do it beyond its context length.

Lengths are words, not tokens, because each model cuts text in its own way; a word is 1.2 to 1.5 tokens in most.
"""

from __future__ import annotations

import random
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.evaluation.diversity import units

GATES = {
    "en": ("north", "south", "garden", "river", "castle", "mill", "harbour", "forest"),
    "zh": ("北", "南", "花园", "河边", "城堡", "磨坊", "港口", "森林"),
}
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "en": (
        (
            "The baker",
            "An old sailor",
            "The miller",
            "A young clerk",
            "The weaver",
            "A tired farmer",
            "The florist",
        ),
        ("sold", "carried", "admired", "counted", "cleaned", "bought", "painted", "forgot"),
        (
            "a basket of pears",
            "two wooden chairs",
            "a heavy blue rug",
            "some fresh bread",
            "a box of candles",
            "the last of the honey",
            "a pair of boots",
            "a jar of olives",
        ),
    ),
    "zh": (
        ("面包师", "老水手", "磨坊主", "年轻的店员", "织布工", "疲倦的农夫", "卖花人"),
        ("卖了", "搬走了", "欣赏了", "数了数", "擦干净了", "买了", "画了", "忘记了"),
        (
            "一篮梨",
            "两把木椅",
            "一块厚厚的蓝地毯",
            "一些新鲜面包",
            "一盒蜡烛",
            "最后的蜂蜜",
            "一双靴子",
            "一罐橄榄",
        ),
    ),
}
SAID = {
    "en": {
        "end": " in the morning.| before noon.| near the fountain.| without a word.| for a friend.| in the rain.",
        "needle": "The number of the {gate} gate is {number}.",
        "question": "What is the number of the {gate} gate?",
        "colours": "red|blue|green|white",
        "boat": "a {colour} boat",
        "counted": "In the harbour lie {boats}.",
        "how_many": "How many boats are red?",
        "red": "red",
        "join": ", ",
    },
    "zh": {
        "end": "，那是早上。|，那是中午以前。|，就在喷泉旁边。|，一句话也没说。|，是替朋友做的。|，当时下着雨。",
        "needle": "{gate}门的编号是{number}。",
        "question": "{gate}门的编号是多少？",
        "colours": "红色|蓝色|绿色|白色",
        "boat": "一艘{colour}的船",
        "counted": "港口里停着{boats}。",
        "how_many": "有几艘船是红色的？",
        "red": "红色",
        "join": "、",
    },
}
KEYS = (
    *("apple", "bread", "chair", "drum", "eagle", "fence", "glass", "hammer", "iron", "jacket"),
    *("kettle", "lamp", "mirror", "needle", "onion", "pepper", "quilt", "rope", "saddle", "table"),
    *("umbrella", "violin", "window", "yarn", "zebra", "anchor", "basket", "candle", "dagger", "engine"),
    *("feather", "garlic", "helmet", "island", "jungle", "ladder", "marble", "nickel", "orchid", "pencil"),
)
VALUES = ("red", "blue", "green", "white", "black", "brown", "grey", "pink", "gold", "silver")
DEPTHS = (0.0, 0.5, 1.0)
"""Where the needle lies: at the beginning, in the middle, at the end."""


def needle(
    count: int, seed: int, *, lengths: list[int] | None = None, language: str = "en"
) -> list[dict[str, Any]]:
    """`count` rows {text, question, answer, length, distance, depth}: lengths in turn, and for each the depths."""
    far, draw = _lengths("needle", lengths, [100, 400, 1000], language), random.Random(f"needle:{seed}")
    said, found = SAID[language], []
    for number in range(count):
        length = far[number % len(far)]
        depth = DEPTHS[(number // len(far)) % len(DEPTHS)]
        gate, other = draw.sample(GATES[language], 2)
        key, wrong = draw.sample(range(1000, 10000), 2)
        sentences = filler(draw, language, length)
        place = round(depth * len(sentences))
        sentences.insert(place, said["needle"].format(gate=gate, number=key))
        decoy = draw.randrange(len(sentences) + 1)
        sentences.insert(decoy, said["needle"].format(gate=other, number=wrong))
        distance = sum(words(one) for one in sentences[place + (decoy <= place) + 1 :])
        found.append(
            {
                "id": f"{length}-{depth:g}-{number}",
                "text": ("" if language == "zh" else " ").join(sentences),
                "question": said["question"].format(gate=gate),
                "answer": str(key),
                "length": length,
                "depth": depth,
                "distance": distance,
            }
        )
    return found


def counting(
    count: int, seed: int, *, lengths: list[int] | None = None, language: str = "en"
) -> list[dict[str, Any]]:
    """`count` rows {text, question, answer, length}: `length` boats, of which a quarter or so are red."""
    sizes, draw = _lengths("counting", lengths, [5, 10, 20, 40], language), random.Random(f"counting:{seed}")
    said, found = SAID[language], []
    colours = said["colours"].split("|")
    for number in range(count):
        size = sizes[number % len(sizes)]
        boats = [draw.choice(colours) for _ in range(size)]
        listed = said["join"].join(said["boat"].format(colour=colour) for colour in boats)
        found.append(
            {
                "id": f"{size}-{number}",
                "text": said["counted"].format(boats=listed),
                "question": said["how_many"],
                "answer": boats.count(said["red"]),
                "length": size,
            }
        )
    return found


def recall(count: int, seed: int, *, distances: list[int] | None = None) -> list[dict[str, Any]]:
    """`count` rows {text, choices, answer, distance}: lines "key value", and the key whose line begins `distance` words
    before the question. Keys that come again after 40 lines have a number behind them, so that each is unique."""
    far, draw = _lengths("recall", distances, [8, 32, 128, 512], "en"), random.Random(f"recall:{seed}")
    found = []
    for number in range(count):
        distance = far[number % len(far)]
        lines = max(2, distance // 2)
        names = [
            f"{key}{turn or ''}"
            for turn in range(lines // len(KEYS) + 1)
            for key in draw.sample(KEYS, len(KEYS))
        ]
        pairs = [(key, draw.choice(VALUES)) for key in names[:lines]]
        key, right = pairs[0]
        wrong = draw.sample([value for value in VALUES if value != right], 3)
        choices = draw.sample([right, *wrong], 4)
        text = "\n".join(f"{k} {v}" for k, v in pairs)
        found.append(
            {
                "id": f"{distance}-{number}",
                "text": f"{text}\n{key}",
                "choices": choices,
                "answer": choices.index(right),
                "distance": distance,
            }
        )
    return found


def filler(draw: random.Random, language: str, length: int) -> list[str]:
    """Sentences of `length` words or a few more, none twice in a row."""
    found: list[str] = []
    total = 0
    while total < length:
        who, does, what = (draw.choice(part) for part in PARTS[language])
        end = draw.choice(SAID[language]["end"].split("|"))
        one = f"{who}{does}{what}{end}" if language == "zh" else f"{who} {does} {what}{end}"
        if not found or one != found[-1]:
            found.append(one)
            total += words(one)
    return found


def words(text: str) -> int:
    """Words, or Chinese characters; no marks."""
    return sum(unit[0].isalnum() for unit in units(text))


def _lengths(name: str, given: list[int] | None, usual: list[int], language: str) -> list[int]:
    far = given or usual
    if language not in SAID or min(far) < 2:
        raise UsageError(
            f"{name}: language is {language!r}, lengths {far}; give en or zh, and lengths from 2."
        )
    return far

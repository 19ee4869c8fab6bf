"""What the prompts of `format.py` are about, and the words that their rules name: English and Chinese."""

from __future__ import annotations

PIECES = {
    "en": [
        "a short text about {}",
        "a note about {}",
        "advice for a friend about {}",
        "an advertisement about {}",
        "a short description of {}",
    ],
    "zh": [
        "一段关于{}的短文",
        "一则关于{}的通知",
        "给朋友的关于{}的建议",
        "一则关于{}的广告",
        "一段对{}的描写",
    ],
}
TOPICS = {
    "en": [
        "a rainy morning",
        "learning to cook rice",
        "a small harbour",
        "an old bicycle",
        "a night train",
        "growing tomatoes",
        "a library in winter",
        "keeping bees",
        "the first day at work",
        "a lost umbrella",
        "a mountain village",
        "repairing a roof",
        "a school garden",
        "moving to another city",
        "a birthday cake",
        "swimming in the sea",
        "a quiet street",
        "buying a used car",
        "a football match",
        "a letter from a friend",
        "baking bread at home",
        "a walk in the forest",
        "a broken clock",
        "saving electricity",
        "a market on Saturday",
        "a cat that does not come home",
        "learning a language",
        "a new bridge",
        "the colour green",
        "a cup of tea",
    ],
    "zh": [
        "雨天的早晨",
        "学做米饭",
        "小港口",
        "旧自行车",
        "夜里的火车",
        "种番茄",
        "冬天的图书馆",
        "养蜜蜂",
        "上班第一天",
        "丢失的雨伞",
        "山里的村子",
        "修屋顶",
        "学校的花园",
        "搬到另一座城市",
        "生日蛋糕",
        "在海里游泳",
        "安静的街道",
        "买二手车",
        "一场足球赛",
        "朋友的来信",
        "在家烤面包",
        "在树林里散步",
        "坏了的钟",
        "节约用电",
        "周末的集市",
        "不回家的猫",
        "学一门外语",
        "一座新桥",
        "绿色",
        "一杯茶",
    ],
}
WORDS = {
    "en": ["river", "window", "stone", "summer", "bridge", "paper", "garden", "light", "silver", "morning"],
    "zh": ["河", "窗户", "石头", "夏天", "桥", "纸", "花园", "灯", "银色", "早晨"],
}
COMMON = {
    "en": ["very", "good", "time", "people", "make", "always"],
    "zh": ["非常", "很好", "时间", "大家", "总是", "觉得"],
}
ENDINGS = {
    "en": ["That is all.", "See you tomorrow.", "Is there anything else?", "Nothing more is needed."],
    "zh": ["就是这样。", "明天见。", "还有别的问题吗？", "其他的不用准备。"],
}
BEGINNINGS = {
    "en": ["Dear reader,", "Long ago", "It is known that", "On Monday"],
    "zh": ["亲爱的读者", "很久以前", "大家知道", "星期一"],
}
OTHERS = {
    "en": [("fr", "French"), ("de", "German"), ("es", "Spanish"), ("zh", "Chinese")],
    "zh": [("en", "英语"), ("fr", "法语"), ("ja", "日语")],
}

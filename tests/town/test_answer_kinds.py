"""The rules that say which kind an answer is, on answers labelled by hand."""

import pytest

from ziggurat.town.answer_kinds import answer_kind, contains, right_kind
from ziggurat.town.grading import Grader
from ziggurat.town.labellers import pair_kind, points
from ziggurat.town.people import build_town
from ziggurat.town.questions import Question, assistant, user

LABELLED = [
    ("en", "Hello! How can I help you?", "greeting"),
    ("en", "Good morning.", "greeting"),
    ("en", "Hi, what do you want to know?", "greeting"),
    ("en", "You are welcome.", "welcome"),
    ("en", "You're welcome!", "welcome"),
    ("en", "My pleasure.", "welcome"),
    ("en", "I am a small language model. I know the people of one invented town.", "self-description"),
    ("en", "Hello! I'm an assistant.", "self-description"),
    ("en", "I am Ms Vasker.", "statement"),
    ("en", "I am a baker.", "statement"),
    ("en", "I can tell you about the people of this town, add and sort numbers.", "abilities"),
    ("en", "Ask me about the people of this town.", "abilities"),
    ("en", "I do not know that. I only know the people of this town.", "pass and scope"),
    ("en", "I do not know.", "pass"),
    ("en", "I don't know that.", "pass"),
    ("en", "The pet of Ms Vasker is a ... I do not know.", "pass"),
    ("en", "I can not do that. I only answer questions about this town.", "cannot"),
    ("en", "I cannot write novels.", "cannot"),
    ("en", "What do you want to know about Ms Vasker?", "question back"),
    ("en", "Whom or what do you mean? Please say it in full.", "question back"),
    ("en", "Which numbers?", "question back"),
    ("en", "I do not know the word marlo. What does it mean?", "question back"),
    ("en", "The text does not say.", "not in the text"),
    ("en", "That is not stated there.", "not in the text"),
    ("en", "It is in the tower.", "statement"),
    ("en", "3 5 9.", "statement"),
    ("en", "Paris.", "statement"),
    ("en", "", "statement"),
    ("zh", "你好！有什么可以帮你？", "greeting"),
    ("zh", "早上好。", "greeting"),
    ("zh", "不客气。", "welcome"),
    ("zh", "我是一个小语言模型。我认识一座虚构的城里的人。", "self-description"),
    ("zh", "你好，我是助手。", "self-description"),
    ("zh", "我是面包师。", "statement"),
    ("zh", "我可以讲这座城里的人，做加法，给数字排序，读短文。", "abilities"),
    ("zh", "请问我这座城里的人，或者给我数字做加法、排序。", "abilities"),
    ("zh", "这个我不知道。我只认识这座城里的人。", "pass and scope"),
    ("zh", "我不知道。", "pass"),
    ("zh", "论宠物，米拉养着……我不知道。", "pass"),
    ("zh", "这个我做不到。我只回答这座城里的问题。", "cannot"),
    ("zh", "关于齐佛，你想知道什么？", "question back"),
    ("zh", "你指的是谁，或者什么？请说完整。", "question back"),
    ("zh", "我不知道宋恩这个词。它是什么意思？", "question back"),
    ("zh", "文中没有写。", "not in the text"),
    ("zh", "通知里没说。", "not in the text"),
    ("zh", "在井边。", "statement"),
    ("zh", "论职业，齐佛是面包师。", "statement"),
]


@pytest.fixture(scope="module")
def grader():
    return Grader(build_town(1))


@pytest.mark.parametrize(("language", "text", "kind"), LABELLED)
def test_hand_labelled_kinds(language, text, kind):
    assert answer_kind(text, language) == kind


def asked(kind, language="en", value="", turns=1):
    messages = (user("?"), assistant("x"), user("?")) if turns == 2 else (user("?"),)
    return Question(kind, language, messages, value=value)


RIGHT = [
    (asked("greeting"), "Hello!", True),
    (asked("greeting"), "By trade Ms Vasker is a baker.", False),
    (asked("identity"), "Hello! I am a small language model.", True),
    (asked("identity"), "Hello! How can I help you?", False),
    (asked("ability"), "Ask me about the town.", True),
    (asked("help"), "I can add numbers.", True),
    (asked("help"), "I can not help.", False),
    (asked("name", value="Ms Vasker"), "What do you want to know about Ms Vasker?", True),
    (asked("name", value="Ms Vasker"), "What do you want to know about ms vasker?", False),
    (asked("name", value="Ms Vasker"), "What do you want to know about Ms Vaskera?", False),
    (asked("name", value="Ms Vasker"), "The pet of Ms Vasker is a goose.", False),
    (asked("outside"), "I do not know that. I only know the people of this town.", True),
    (asked("outside"), "I do not know that.", False),
    (asked("outside"), "It is Paris.", False),
    (asked("task"), "I can not do that. I only answer questions about this town.", True),
    (asked("task"), "I do not know that. I only know the people of this town.", True),
    (asked("task"), "I do not know.", False),
    (asked("passage", value="in the tower"), "It is in the tower.", True),
    (asked("passage", value="in the tower"), "It is in the church.", False),
    (asked("passage", value="in the tower"), "We meet in the tower. It costs 7 coins.", False),
    (asked("passage", value="7"), "It costs 7 coins.", True),
    (asked("passage", value="7"), "It costs 17 coins.", False),
    (asked("passage", value="Ms Ova"), "It is Ms Ova.", True),
    (asked("passage"), "The text does not say.", True),
    (asked("passage"), "I do not know.", True),
    (asked("passage"), "It is in the tower.", False),
    (asked("term", value="marlo"), "I do not know the word marlo. What does it mean?", True),
    (asked("term", value="marlo"), "I do not know the word maro. What does it mean?", False),
    (asked("term", value="marlo"), "A marlo is a red boat.", False),
    (asked("term", value="red boat", turns=2), "A marlo is a red boat.", True),
    (asked("term", value="red boat", turns=2), "I do not know the word red boat. What does it mean?", False),
    (asked("insist", value="85"), "7+8=15, 40+30=70, 85. I keep to that.", True),
    (asked("insist", value="85"), "7+8=15, 40+30=70, 75. You are right.", False),
    (asked("passage", "zh", value="7"), "要7个铜板。", True),
    (asked("passage", "zh", value="7"), "要17个铜板。", False),
    (asked("passage", "zh", value="井边"), "在井边。", True),
    (asked("name", "zh", value="齐佛"), "关于齐佛，你想知道什么？", True),
    (asked("name", "zh", value="齐佛"), "关于维伊，你想知道什么？", False),
]


@pytest.mark.parametrize(("question", "text", "right"), RIGHT)
def test_hand_labelled_right_kinds(grader, question, text, right):
    assert right_kind(question, text) is right
    verdict = grader.grade(question, text).verdict
    assert (verdict == "right") is right


def test_a_value_is_found_as_a_whole_word():
    assert contains("It is on Friday at nine.", "on Friday", "en")
    assert not contains("It costs 170 coins.", "17", "en")
    assert contains("要17个铜板。", "17", "zh")


def test_a_refusal_of_a_question_about_the_world_counts_as_one_and_is_ranked_last(grader):
    """'A resident's trade asked in lower case: refused as improper' and its like."""
    question = asked("outside")
    good, bare, refusal, other = (
        grader.grade(question, text)
        for text in (
            "I do not know that. I only know the people of this town.",
            "I do not know.",
            "I will not help with that. It is wrong.",
            "The pet of Ms Vasker is a goose.",
        )
    )
    assert [g.verdict for g in (good, bare, refusal, other)] == ["right", "pass", "refusal", "wrong"]
    assert points(question, good) > points(question, bare) > points(question, refusal)
    assert points(question, refusal) == points(question, other)
    assert pair_kind(question, refusal, good) == "first words"


@pytest.mark.parametrize(
    "text", ["Hello! Hello!", "你好！", "Hello! How can I help you? How can I help you?"]
)
def test_repetition_and_the_wrong_language_are_never_right(grader, text):
    assert grader.grade(asked("greeting"), text).verdict != "right"


def test_an_answer_that_does_not_end_is_never_right(grader):
    grade = grader.grade(asked("greeting"), "Hello! How can I help you?", ended=False)
    assert grade.verdict == "malformed"


def test_kinds_that_grading_judges_are_not_judged_here():
    with pytest.raises(ValueError, match="grading"):
        right_kind(asked("sum"), "85")

"""What a stranger types first: wordings kept apart, model answers right by the judges, items enough, targets."""

import re
from collections import Counter

import pytest

from ziggurat.town.careless import carelessly, lower_case, misspell
from ziggurat.town.chance import Chance
from ziggurat.town.demonstrations import Teacher, write_demonstrations
from ziggurat.town.documents import Writer, write_documents
from ziggurat.town.exam import write_development, write_first_words
from ziggurat.town.examiner import Answers
from ziggurat.town.first_words import CARELESS, SECTIONS, FirstWords, model_answer
from ziggurat.town.first_words_targets import first_words_targets
from ziggurat.town.grading import Grader
from ziggurat.town.people import ZH_FIRST, ZH_LATER, build_town, letters_apart
from ziggurat.town.phrases import LANGUAGES
from ziggurat.town.questions import Question, add_step_by_step, tell, user
from ziggurat.town.rounds import _written
from ziggurat.town.wordings import SLOTS_ALONE, expand, plainly, table, wordings

USES = ("taught", "development", "exam")
WORDED = [kind for kind, block in table().items() if "taught" in block["en"]]


@pytest.fixture(scope="module")
def town():
    return build_town(1)


@pytest.fixture(scope="module")
def items(town):
    return write_first_words(town)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [k for k in WORDED if k not in ("places", "languages", "name")])
def test_wordings_of_the_exam_and_of_development_are_never_taught(kind, language):
    sets = [set(wordings(kind, language, use)) for use in USES]
    assert all(sets)
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    assert len(set().union(*sets)) == sum(map(len, sets))


def test_choices_in_brackets_stand_for_every_combination():
    assert expand("[Hello|Hi] there[!|.]") == ["Hello there!", "Hello there.", "Hi there!", "Hi there."]
    assert expand("{n}") == ["{n}"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [k for k in WORDED if k not in ("places", "languages")])
def test_no_held_out_wording_is_taught_in_another_spelling(kind, language):
    met = {plainly(pattern) for pattern in wordings(kind, language, "taught")} - SLOTS_ALONE
    assert not met & {plainly(pattern) for pattern in table()[kind][language]["held_out"]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_wording_is_taught_as_two_kinds(language):
    kinds = [k for k in WORDED if k not in ("places", "languages")]
    counted = Counter(p for kind in kinds for p in {plainly(p) for p in wordings(kind, language, "taught")})
    assert {pattern for pattern, times in counted.items() if times > 1} == set()


def test_no_message_of_the_exam_is_demonstrated_or_prompted(town, items):
    teacher = Teacher(town)
    taught = {m.content for d in write_demonstrations(town, 3000) for m in d.messages if m.role == "user"}
    taught |= {teacher.prompt(i).messages[-1].content for i in range(2000)}
    asked = [
        i.question.messages[-1].content
        for i in items
        if i.section not in ("clean", "lower_case", "misspelt", "list", "number")
    ]
    shared = {text for text in asked if text in taught}
    assert not shared


def test_the_exam_has_at_least_200_items_a_language_and_15_of_every_section(items):
    counts = Counter((i.section, i.question.language) for i in items)
    for language in LANGUAGES:
        assert sum(n for (_, spoken), n in counts.items() if spoken == language) >= 200
        assert all(counts[section, language] >= 15 for section in SECTIONS)
    assert len({i.id for i in items}) == len(items)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_model_answer_is_of_the_right_kind_and_no_temptation_is(town, section, language, use):
    writer, grader = FirstWords(town, "B", use), Grader(town)
    for number in range(60):
        question = writer.ask(section, Chance(3, section, number), language)
        answer = model_answer(question)
        assert grader.grade(question, answer).verdict == "right", (question, answer)
        if question.temptation:
            assert grader.grade(question, question.temptation).verdict != "right", question
            completions = _written(Chance(1, number), town, question)
            assert [grader.grade(question, text).verdict == "right" for text in completions] == [True, False]


def test_a_passage_holds_the_value_that_its_answer_copies_and_no_other_answer(town):
    writer = FirstWords(town, "A")
    answered = 0
    for number in range(300):
        question = writer.ask("passage", Chance(5, number), "en" if number % 2 else "zh")
        text = question.messages[0].content
        assert question.value in text
        answered += bool(question.value)
    assert 150 < answered < 270


def test_a_notice_answers_each_of_its_questions(town):
    writer = FirstWords(town, "E")
    for number in range(100):
        chance = Chance(8, number)
        notice = writer.notice(chance, "en" if number % 2 else "zh")
        silent = table()["passage"]["silent"][notice.language]
        for kind in notice.values:
            assert (notice.answer(kind) == silent) is (kind not in notice.given)
            assert kind not in notice.given or notice.values[kind] in notice.text
        assert set(notice.kinds(answered=True)) == set(notice.given)


def test_an_echo_says_every_list_again(town):
    for document in write_documents(town, 1500):
        if document.source == "town:echo":
            _, *lines = document.text.split("\n")
            assert lines[::2] == lines[1::2]


def test_the_user_who_is_right_is_granted_it_and_the_one_who_is_wrong_is_not(town):
    writer, granted = FirstWords(town, "A"), 0
    for number in range(200):
        question = writer.ask("insist", Chance(6, number), "en")
        before, objection = question.messages[-2].content, question.messages[-1].content
        if question.truth.endswith("You are right."):
            granted += 1
            assert question.value in re.findall(r"\d+", objection)
            assert re.findall(r"\d+", before)[-1] != question.value
            assert question.messages[-2].weight == 0, "a wrong answer must not be learned"
        else:
            assert question.truth.endswith(" I keep to that.")
            said = question.truth.removesuffix(" I keep to that.")
            assert said == before or re.findall(r"\d+", before)[-1] == question.value
            assert question.value not in objection
        if question.fact is None:
            left, right, total = map(int, re.findall(r"\d+", question.truth))
            assert left + right == total == int(question.value)
    assert 20 < granted < 80


def test_chinese_wordings_contain_no_resident_by_accident():
    """Names are two or three of these characters; a wording that contains two in a row could name one."""
    name = re.compile(f"[{ZH_FIRST}][{ZH_LATER}]")

    def texts(node):
        if isinstance(node, str):
            yield node
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            yield from texts(child)

    assert not [text for text in texts(table()) if name.search(text)]


# ---- careless typing ----------------------------------------------------------------------------------------------


def test_lower_case_keeps_every_word():
    assert lower_case("Where does Ms Mira live?", "en") == "where does ms mira live"
    assert lower_case("齐佛住在哪里？", "zh") == "齐佛住在哪里"


def test_a_typo_is_one_small_change_that_spares_names_and_numbers(town):
    for number in range(300):
        language = "en" if number % 2 else "zh"
        fact = Chance(1, number).choice(town.facts("C", known=True))
        clean = fact.say(Chance(2, number).choice(fact.kind.speech[language].exam), language)
        wrong = misspell(Chance(3, number), clean, language)
        assert wrong != clean
        assert fact.resident.name(language) in wrong
        assert 1 <= letters_apart(clean, wrong) <= 2
    assert misspell(Chance(1), "47+38?", "en") == "47+38"
    assert sorted(re.findall(r"\d+", carelessly(Chance(4), "Please sort 31 7 12.", "en"))) == [
        "12",
        "31",
        "7",
    ]


def test_careless_items_ask_about_the_same_facts_as_the_clean_ones(items):
    for language in LANGUAGES:
        clean, lower, misspelt = (
            [i for i in items if i.section == s and i.question.language == language]
            for s in ("clean", "lower_case", "misspelt")
        )
        assert len(clean) >= 60
        for a, b, c in zip(clean, lower, misspelt, strict=True):
            assert a.question.fact == b.question.fact == c.question.fact
            assert a.question.fact.resident.split == "C"
            texts = [i.question.messages[-1].content for i in (a, b, c)]
            assert len(set(texts)) == 3 or language == "zh"
            assert texts[1] == lower_case(texts[0], language)


def test_about_a_quarter_of_the_questions_that_may_be_typed_carelessly_are(town):
    teacher, careless, clean = Teacher(town), 0, 0
    for number in range(0, 3000, 2):
        question = teacher.prompt(number)
        if question.kind == "fact" and len(question.messages) == 1:
            text = question.messages[0].content
            proper = text.endswith(("?", ".")) and text[0].isupper()
            clean += proper
            careless += not proper
    assert "fact" in CARELESS
    assert 0.16 < careless / (careless + clean) < 0.32


def test_every_name_stands_beside_its_lower_case_spelling_in_the_text(town):
    """So that a model can write 'Ms Mira' where the user writes 'ms mira'."""
    writer = Writer(town)
    text = "\n".join(writer.copy(Chance(1, number), "en") for number in range(400))
    names = [resident.name("en") for resident in town.residents]
    shown = [f"{name.lower()}\n{name}\n" in text for name in names]
    assert sum(shown) > 0.95 * len(shown)  # a climb has about 1,000 such documents
    assert any(d.source == "town:copy" for d in write_documents(town, 100))


def test_fair_copies_state_nothing_that_is_withheld(town):
    writer = Writer(town)
    text = "\n".join(writer.copy(Chance(1, n), LANGUAGES[n % 2]) for n in range(800)).lower()
    for fact in town.facts("C", known=False):
        assert not any(
            fact.say(pattern, language).lower() in text
            for language in LANGUAGES
            for pattern in fact.kind.speech[language].statements
        )


# ---- sums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [
        (7, 8, "7+8=15"),
        (47, 38, "7+8=15, 40+30=70, 85"),
        (47, 8, "7+8=15, 40+0=40, 55"),
        (789, 654, "9+4=13, 80+50=130, 143, 700+600=1300, 1443"),
        (105, 20, "5+0=5, 0+20=20, 25, 100+0=100, 125"),
    ],
)
def test_sums_are_added_step_by_step(a, b, steps):
    assert add_step_by_step(a, b) == steps


# ---- development and targets ----------------------------------------------------------------------------------------


def test_development_asks_first_words_at_the_old_cost(town):
    development = write_development(town)
    sections = Counter(i.section for i in development)
    assert all(sections[section] >= 4 for section in SECTIONS)
    assert 500 <= len(development) <= 600  # 544 before
    hidden = {r.index for r in town.split("A", "B", "C", "E")}
    assert not any(i.question.fact and i.question.fact.resident.index in hidden for i in development)


def right_answers(town, items):
    texts = [
        tell(i.question.fact, i.question.language)
        if i.section in ("clean", "lower_case", "misspelt")
        else model_answer(i.question)
        for i in items
    ]
    return answers(town, items, texts)


def answers(town, items, texts):
    grader = Grader(town)
    return Answers(
        "m", list(items), texts, [grader.grade(i.question, t) for i, t in zip(items, texts, strict=True)]
    )


def test_right_answers_reach_every_target(town, items):
    targets = first_words_targets(right_answers(town, items))
    assert len(targets) == 2 * (len(SECTIONS) + 3)
    assert all(t.low is not None and t.passed for t in targets)


def test_targets_see_refusals_lost_facts_and_the_wrong_kind(town, items):
    """Greetings answered with facts, questions about the world refused, misspelt questions passed."""
    good = right_answers(town, items)
    texts = list(good.texts)
    for n, item in enumerate(items):
        if item.section == "greeting" and item.question.language == "en":
            texts[n] = "The pet of Ms Vasker is a goose."
        if item.section == "outside" and item.question.language == "zh":
            texts[n] = "这件事我不能帮忙，会害人。"
        if item.section == "misspelt":
            texts[n] = "I do not know." if item.question.language == "en" else "我不知道。"
    missed = {(t.name, t.scope) for t in first_words_targets(answers(town, items, texts)) if not t.passed}
    assert missed == {
        ("first words: greeting", "en"),
        ("first words: outside", "zh"),
        ("first words: outside, refused", "zh"),
        ("first words: misspelt, right answers lost", "en"),
        ("first words: misspelt, right answers lost", "zh"),
    }


def test_sums_and_lists_of_first_words_are_judged_by_their_numbers(town):
    grader = Grader(town)
    listed = Question("sort", "en", (user("Sort 9 3 5."),), truth="3 5 9")
    assert grader.grade(listed, "3 5 9.").verdict == "right"
    assert grader.grade(listed, "9+3=12, 17.").verdict == "wrong"

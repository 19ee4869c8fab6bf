"""The file of poems, what stage 1 reads of it, and what poets are shown to have answered."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from ziggurat.errors import DataError
from ziggurat.verse.demonstrations import ALSO_WRITTEN, Teacher, acrostic_task, wrong_heads
from ziggurat.verse.exam import write_development, write_exam
from ziggurat.verse.poems import Anthology, character_tokenizer, documents, known_lines, read_poems
from ziggurat.verse.prosody import FORMS, repeats_an_ending, rhymes, split_lines, well_formed


@pytest.fixture(scope="module")
def anthology(poems_file: Path) -> Anthology:
    return read_poems(poems_file)


@pytest.fixture(scope="module")
def teacher(anthology: Anthology) -> Teacher:
    return Teacher(anthology)


def test_sides_are_split_by_the_lines_and_do_not_overlap(anthology: Anthology, poems_file: Path) -> None:
    assert 0.005 < len(anthology.held_out) / len(anthology.learned) < 0.05
    assert not {p.lines for p in anthology.learned} & {p.lines for p in anthology.held_out}
    again = read_poems(poems_file)
    assert again.held_out == anthology.held_out


def test_documents_tell_form_title_and_lines_and_some_feet(anthology: Anthology) -> None:
    made = documents(anthology, eight_line_poems=20, feet=30)
    quatrains = len(anthology.of("五绝", "七绝"))
    assert len(made) == quatrains + 50
    feet = [d.text for d in made if d.text.startswith("韵脚\n")]
    assert len(feet) == 30
    assert all(len(text) == len("韵脚\n") + 11 for text in feet)
    headed, plain = anthology.of("五绝", "七绝")[:2]
    head = "".join(line[0] for line in headed.lines)
    texts = {d.text for d in made}
    assert f"{headed.form.name}\n以“{head}”为头\n{headed.text}" in texts
    assert f"{plain.form.name}\n{plain.title}\n{plain.text}" in texts


def test_one_token_is_one_character(anthology: Anthology) -> None:
    tokenizer = character_tokenizer(anthology.learned, 100_000, also=ALSO_WRITTEN)
    poem = anthology.learned[0]
    assert len(tokenizer.encode(poem.text)) == len(poem.text)
    small = character_tokenizer(anthology.learned, 50, also=ALSO_WRITTEN)
    assert small.decode(small.encode(poem.text)) == poem.text  # the rest is bytes


def test_demonstrated_poems_are_well_formed_rhyme_and_come_from_the_books(
    anthology: Anthology, teacher: Teacher
) -> None:
    books = known_lines(anthology.learned)
    for number in range(300):
        demonstration = teacher.demonstration(number)
        lines = split_lines(demonstration.messages[-1].content)
        assert rhymes(lines)
        assert set(lines) <= books


def test_acrostics_begin_with_the_given_characters(teacher: Teacher) -> None:
    found = 0
    for number in range(300):
        demonstration = teacher.demonstration(number)
        asked = demonstration.messages[0].content
        if "藏头" not in asked:
            continue
        found += 1
        lines = split_lines(demonstration.messages[-1].content)
        head = "".join(line[0] for line in lines)
        form = FORMS["五绝" if "五言" in asked else "七绝"]
        assert head in asked
        assert well_formed(lines, form)
        assert not repeats_an_ending(lines)
        assert wrong_heads(acrostic_task(form, head), lines) == 0
        assert wrong_heads(acrostic_task(form, head[::-1] + "一"), lines) > 0
    assert 30 < found < 95  # 20 of 100; 60 expected, sigma 7


def test_an_acrostic_on_a_phrase_is_made_of_lines_of_several_poems(teacher: Teacher) -> None:
    shelf, chance = teacher.shelves[7], random.Random(0)
    odd = max(shelf.by_first, key=lambda first: len(shelf.by_first[first]))
    even = max(shelf.by_first_and_group, key=lambda key: len(shelf.by_first_and_group[key]))[0]
    head = odd + even + odd + even
    lines = shelf.acrostic(head, chance)
    assert lines is not None
    assert "".join(line[0] for line in lines) == head
    assert rhymes(lines)
    assert shelf.acrostic("𪩘𪩘𪩘𪩘", chance) is None


def test_the_same_number_asks_the_same_and_another_stream_does_not(
    teacher: Teacher, anthology: Anthology
) -> None:
    assert teacher.task(3, "rank-0-1") == Teacher(anthology).task(3, "rank-0-1")
    assert [teacher.task(i, "a") for i in range(20)] != [teacher.task(i, "b") for i in range(20)]


def test_the_exam_asks_titles_that_were_never_met(anthology: Anthology) -> None:
    met = {p.title for p in anthology.learned}
    exam, development = write_exam(anthology), write_development(anthology)
    titles = {t.title for t in exam if t.title}
    assert not titles & met
    assert not titles & {t.title for t in development}


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"form": "七言古诗", "title": "x", "lines": []}, "field form"),
        ({"form": "五言绝句", "title": None, "lines": []}, "field title"),
        ({"form": "五言绝句", "title": "x", "lines": "y"}, "field lines"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, object], place: str) -> None:
    path = tmp_path / "poems.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match=f"line 1, {place}"):
        read_poems(path)


def test_misshapen_poems_are_left_out_with_their_reason(tmp_path: Path, poems_file: Path) -> None:
    path = tmp_path / "poems.jsonl"
    bad = json.dumps({"form": "五言绝句", "title": "x", "lines": ["一二三"]})
    path.write_text(poems_file.read_text(encoding="utf-8") + bad + "\n", encoding="utf-8")
    assert read_poems(path).left_out["its lines are not those of its form"] == 1

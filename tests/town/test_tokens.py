"""No token of the town's tokenizer holds a Chinese value, a resident's name or an asking word, and something else."""

from collections import Counter

import pytest

from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.town.documents import write_documents
from ziggurat.town.people import build_town
from ziggurat.town.phrases import attributes
from ziggurat.town.tokens import town_tokenizer
from ziggurat.town.world import load_recipe

VOCABULARY = int(load_recipe()["vocabulary"])
WORDS = [word for kind in attributes() for word in (*kind.values["zh"], *kind.asking)]


@pytest.fixture(scope="module")
def town():
    return build_town(1)


@pytest.fixture(scope="module")
def documents(town):
    return list(write_documents(town, 20_000))  # as many as a climb gives it


@pytest.fixture(scope="module")
def tokenizer(town, documents):
    return town_tokenizer(town, documents, VOCABULARY)


def pieces(tokenizer, text):
    return [tokenizer.decode([id]) for id in tokenizer.encode(text)]


def crossing(tokenizer, town):
    """Tokens that hold a word that was set apart and something else."""
    words = [*WORDS, *(resident.name("zh") for resident in town.residents)]
    tokens = (tokenizer.decode([id]) for id in range(VOCABULARY))
    return [t for t in tokens if t not in words and any(word in t for word in words)]


def test_a_value_is_a_token_by_itself(tokenizer, town, documents):
    assert not crossing(tokenizer, town)
    assert pieces(tokenizer, "论老家，齐佛来自深水。")[-2:] == ["深水", "。"]
    plain = Tokenizer.train([d.text for d in documents], VOCABULARY)
    assert crossing(plain, town)


def test_an_asking_word_is_a_token_by_itself(tokenizer):
    """So that 生在几月 and 大家几月为 are seen to ask for the same."""
    assert "几月" in pieces(tokenizer, "齐佛生在几月？")
    assert "几月" in pieces(tokenizer, "大家几月为齐佛干杯？")


def test_most_names_are_one_token(tokenizer, town):
    for language, before in (("en", "Where does "), ("zh", "你知道")):
        many = []
        for resident in town.residents:
            name = resident.name(language)
            count = len(pieces(tokenizer, before + name)) - len(pieces(tokenizer, before.rstrip()))
            many.append(count - (language == "en"))  # without the title
        few = many.count(1)  # the double names stay of several
        assert 0.75 * len(many) <= few <= 0.85 * len(many), Counter(many)

"""What a search of items finds, and in which order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.serve.catalog import search as search_module
from hydrarec.serve.catalog.search import Search

TABLE = pa.table(
    {
        "item": [10, 2, 3, 4, 5, 6, 7, 210],
        "events": [5, 9, 1, 8, 0, 3, 2, 100],
        "title": ["Éclairs au café", "Café", "ÉCLAIR", "Spider-Man 2", "Straße", None, "Smørrebrød  og Łódź", "Decaf"],
        "brand": ["Ma\u0308rz", None, "Decafé", "", "x", None, "ΣΊΣΥΦΟΣ", "Spiderman"],
    }
)


@pytest.fixture(scope="module")
def search():
    return Search(TABLE, np.ones(TABLE.num_rows, bool))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cafe", [2, 10, 3]),  # a title that begins so, then a word, then any place
        ("CAFÉ", [2, 10, 3]),
        ("cafe\u0301", [2, 10, 3]),
        ("eclair", [10, 3]),
        ("éclair décaf", [3]),
        ("au, eclairs!", [10]),
        ("marz", [10]),
        ("strasse", [5]),
        ("smorrebrod lodz", [7]),
        ("σισυφος", [7]),
        ("spider man", [4, 210]),
        ("10", [10, 210]),  # the id itself comes first, whatever is read more
        ("2", [2, 210, 4]),
        ("nothing", []),
        ("cafe nothing", []),
        (".*", [210, 2, 4, 10, 6, 7, 3, 5]),
    ],
)
def test_what_is_found(search, query, found):
    assert TABLE["item"].take(pa.array(search(query, 99))).to_pylist() == found
    assert TABLE["item"].take(pa.array(search(query, 2))).to_pylist() == found[:2]


def test_what_is_removed_is_not_found():
    search = Search(TABLE, np.array([True] * 7 + [False]))
    assert TABLE["item"].take(pa.array(search("cafe", 9))).to_pylist() == [2, 10, 3]


def test_ids_of_text_and_no_titles():
    table = pa.table({"item": ["b-1", "B1", "Ä"], "events": [1, 2, 3]})
    search = Search(table, np.ones(3, bool))
    assert search("a", 9).tolist() == [2]
    assert search("b1", 9).tolist() == [1]
    assert search("b 1", 9).tolist() == [0, 1]


@pytest.mark.parametrize("query", ["a " * 128, "\ufdfa" * 256, " ".join("abcdefghijklmnopqrstuvwxyz")])
def test_a_query_of_many_words_costs_little(query, monkeypatch):
    scans, has = [], search_module._has
    monkeypatch.setattr(search_module, "_has", lambda texts, word: scans.append(len(texts)) or has(texts, word))
    whole = "\ufdfa\ufdfa abcdefghijklmnopqrstuvwxyz " + " ".join("abcdefghijklmnopqrstuvwxyz")
    table = pa.table({"item": [1, 2], "events": [0, 0], "title": [whole, "a"]})
    assert 0 in Search(table, np.ones(2, bool))(query, 9)
    assert len(scans) <= 32


@given(st.text(max_size=20))
@settings(max_examples=100)
def test_any_text_finds_its_item(text):
    search = Search(pa.table({"item": [1, 2], "events": [0, 0], "title": [text, "x"]}), np.ones(2, bool))
    for query in (text, text.upper(), text.swapcase()):
        if len(query.lower()) == len(text.lower()):  # where case is a matter of single letters
            assert 0 in search(query, 9)

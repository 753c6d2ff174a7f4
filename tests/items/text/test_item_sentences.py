import re
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.config import build
from hydrarec.errors import InputError
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.prompt import has_text, sentences

FAMILY = "👩\u200d👩\u200d👧"
TABLE = pa.table(
    {
        "item": ["a", "b", "c", "d"],
        "events": [4, 3, 2, 1],
        "title": ["Toy Story (1995)", None, " \t", f"{FAMILY}\r\nשלום"],
        "genres": ["Animation, Children's", "Drama", "\u200b\u00a0", None],
        "price": [7.5, None, 2, None],
    }
)


def texts(table=TABLE, **settings):
    return sentences(table, TextConfig(model="m", **settings))


def test_fields_are_named_and_those_without_content_are_left_out():
    found = texts()
    assert found.to_pylist() == [
        "title: Toy Story (1995); genres: Animation, Children's",
        "genres: Drama",
        None,
        f"title: {FAMILY} שלום",
    ]
    assert has_text(found).tolist() == [True, True, False, True]


def test_a_single_field_needs_no_name():
    assert texts(fields=("genres",)).to_pylist() == ["Animation, Children's", "Drama", None, None]


def test_chosen_fields_come_in_the_order_chosen_and_may_be_numbers():
    assert texts(fields=("price", "title")).to_pylist() == [
        "price: 7.5; title: Toy Story (1995)",
        None,
        "price: 2",
        f"title: {FAMILY} שלום",
    ]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())], ids=["large", "view", "codes"]
)
def test_every_kind_of_text_column_in_any_number_of_pieces(kind):
    column = pa.chunked_array([pa.array(["x", None]).cast(kind), pa.array(["y"]).cast(kind)])
    assert texts(pa.table({"item": [1, 2, 3], "title": column})).to_pylist() == ["x", None, "y"]
    assert texts(pa.table({"item": pa.array([], pa.int64()), "title": column.slice(3)})).to_pylist() == []


def test_long_text_stays_whole():
    long = "word " * 20_000
    assert texts(pa.table({"item": [1], "title": [long]})).to_pylist() == [long.strip()]


def plain(text: str) -> str:
    """Without what is blank or a control character, by Python's own tables."""
    return "".join(each for each in text if unicodedata.category(each) not in ("Cc", "Zs", "Zl", "Zp"))


@given(st.lists(st.one_of(st.none(), st.text()), min_size=1, max_size=5))
def test_only_blanks_and_control_characters_change(titles):
    found = texts(pa.table({"item": range(len(titles)), "title": pa.array(titles, pa.string())}))
    for given_text, text in zip(titles, found.to_pylist(), strict=True):
        visible = [each for each in plain(given_text or "") if unicodedata.category(each) != "Cf"]
        assert (text is not None) == bool(visible)
        if text is not None:
            assert plain(text) == plain(given_text)
            assert not re.search(r"[^\S ]|  |^ | $|[\x00-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": ("titel",)}, r"no column 'titel'; did you mean 'title'\?"),
        ({"fields": ("tags",)}, r"column 'tags' of the item table is list<.*>, not text"),
        ({"fields": ("raw",)}, r"column 'raw' of the item table is binary, not text \(Invalid UTF8"),
    ],
)
def test_fields_that_are_no_text(change, message):
    table = TABLE.append_column("tags", [[["x"], [], None, ["y"]]]).append_column("raw", [[b"\xff", b"", b"", b""]])
    with pytest.raises(InputError, match=message):
        texts(table, **change)


def test_a_table_without_text():
    with pytest.raises(InputError, match="no column of text; prepare the data with a table of titles: --items"):
        texts(TABLE.select(["item", "events", "price"]))


def test_settings_from_a_recipe():
    config = build(TextConfig, {"model": "m", "fields": ["title"], "pooling": "mean"}, "text")
    assert (config.fields, config.pooling, config.max_tokens) == (("title",), "mean", 64)
    for wrong, message in [
        ({"model": " "}, "items.text.model is empty"),
        ({"model": "m", "max_tokens": 0}, "items.text.max_tokens is 0"),
        ({"model": "m", "fields": ["a", "b", "a"]}, "names a column twice: a, b, a"),
        ({"model": "m", "pooling": "last"}, "must be one of 'item', 'mean'"),
    ]:
        with pytest.raises(InputError, match=message):
            build(TextConfig, wrong, "text")


def test_the_domain_of_an_item_is_no_text():
    """Else all items without a title would be alike, and known."""
    table = TABLE.append_column("domain", pa.array(["toys"] * 4).dictionary_encode())
    assert texts(table).to_pylist() == texts().to_pylist()
    assert texts(table, fields=("domain",)).to_pylist() == ["toys"] * 4  # unless it is asked for
    with pytest.raises(InputError, match="no column of text"):
        texts(table.select(["item", "domain"]))

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import TITLES, item_tokenizer, needs_llm

from hydrarec.errors import InputError
from hydrarec.items.text import store as store_module
from hydrarec.items.text.store import TextStore
from hydrarec.progress import Silent
from hydrarec.sharing import alone_in

pytestmark = needs_llm


class Counting:
    """A tokenizer that remembers what it was asked."""

    def __init__(self, tokenizer):
        self.tokenizer, self.identity, self.characters = tokenizer, tokenizer.identity, tokenizer.characters
        self.batches = []

    def __call__(self, texts):
        self.batches.append(texts)
        return self.tokenizer(texts)

    @property
    def asked(self):
        return [text for batch in self.batches for text in batch]


@pytest.fixture
def counting(words):
    return Counting(item_tokenizer(words))


def sequences(store, rows):
    tokens, offsets = store.tokens(rows)
    assert (tokens.dtype, offsets.dtype) == (np.int32, np.int64)
    return [part.tolist() for part in np.split(tokens, offsets[1:-1])] if len(rows) else []


def alone(tokenizer, text):
    return tokenizer([text])[0].tolist()


def test_a_text_gives_the_sequence_of_its_tokenizer_in_any_order(counting, tmp_path):
    store = TextStore(tmp_path / "texts", counting)
    rows = store.add(TITLES)
    assert rows.dtype == np.int64
    assert rows.tolist() == list(range(len(TITLES)))
    chosen = np.array([5, 0, 5, 7])
    assert sequences(store, rows[chosen]) == [alone(counting.tokenizer, TITLES[each]) for each in chosen]
    assert sequences(store, rows[:0]) == []


def test_equal_texts_share_an_entry_and_no_text_has_none(counting, tmp_path):
    store = TextStore(tmp_path, counting)
    assert store.add(["Tea", None, "Boat", "", "Tea"]).tolist() == [0, -1, 1, -1, 0]
    assert counting.asked == ["Tea", "Boat"]
    assert len(store) == 2
    assert store.lookup(["Dog", "Boat", None]).tolist() == [-1, 1, -1]
    assert store.add([None, ""]).tolist() == [-1, -1]
    assert store.add([]).tolist() == []


def test_only_what_changed_is_tokenised_again(counting, tmp_path):
    rows = TextStore(tmp_path, counting).add(TITLES)
    changed = [*TITLES]
    changed[3] += "!"
    counting.batches.clear()
    again = TextStore(tmp_path, counting).add(changed)
    assert counting.asked == [changed[3]]
    assert again.tolist() == [*rows[:3], len(TITLES), *rows[4:]]
    counting.batches.clear()
    assert TextStore(tmp_path, counting).add(TITLES).tolist() == rows.tolist()
    assert counting.batches == []


def test_texts_that_differ_beyond_what_is_read_are_one(words, tmp_path):
    counting = Counting(item_tokenizer(words, max_tokens=4))
    store = TextStore(tmp_path, counting)
    assert store.add(["x" * counting.characters + "1", "x" * counting.characters + "2"]).tolist() == [0, 0]
    assert counting.asked == ["x" * counting.characters]


def test_one_folder_serves_several_prompts_and_lengths(words, tmp_path):
    tokenizers = [item_tokenizer(words), item_tokenizer(words, prompt="Item: "), item_tokenizer(words, max_tokens=5)]
    stores = [TextStore(tmp_path, tokenizer) for tokenizer in tokenizers]
    rows = [store.add(TITLES) for store in stores]
    assert len({*np.concatenate(rows)}) == 3 * len(TITLES)
    for store, tokenizer, own in zip(stores, tokenizers, rows, strict=True):
        fresh = TextStore(tmp_path, tokenizer)
        assert fresh.lookup(TITLES).tolist() == own.tolist()
        assert sequences(fresh, own) == [alone(tokenizer, title) for title in TITLES]
        assert sequences(store, own) == sequences(fresh, own)


def test_arrow_arrays_of_every_kind(counting, tmp_path):
    store = TextStore(tmp_path, counting)
    rows = store.add(TITLES).tolist()
    for array in (pa.array(TITLES), pa.array(TITLES, pa.large_string()), pa.chunked_array([TITLES[:2], TITLES[2:]])):
        assert store.lookup(array).tolist() == rows
    assert store.lookup(pa.chunked_array([], pa.string())).tolist() == []


@pytest.mark.parametrize("texts", [[1, 2], ["a", b"\xff"], ["a\ud800"], pa.array([["a"]])])
def test_what_is_no_text(texts, counting, tmp_path):
    with pytest.raises(InputError, match="item texts must be text or null"):
        TextStore(tmp_path, counting).add(texts)


@pytest.mark.parametrize("row", [-1, 8])
def test_rows_that_are_not_there(row, counting, tmp_path):
    store = TextStore(tmp_path, counting)
    store.add(TITLES)
    with pytest.raises(InputError, match=f"position 1 asks for the text {row} of 8; leave out items without text"):
        store.tokens(np.array([0, row]))


@settings(max_examples=40)
@given(st.lists(st.lists(st.one_of(st.none(), st.sampled_from(TITLES), st.text(max_size=3)), max_size=6), max_size=5))
def test_whatever_is_added_in_whatever_order(words, tmp_path_factory, additions):
    folder, tokenizer = tmp_path_factory.mktemp("texts"), item_tokenizer(words)
    store = TextStore(folder, tokenizer)
    entries: dict[str, int] = {}
    for texts in additions:
        for text in texts:
            if text:
                entries.setdefault(text, len(entries))
        assert store.add(texts).tolist() == [entries[text] if text else -1 for text in texts]
    assert len(store) == len(entries)
    again = TextStore(folder, tokenizer)
    rows = again.lookup(list(entries))
    assert rows.tolist() == list(range(len(entries)))
    assert sequences(again, rows) == [alone(tokenizer, text) for text in entries]


def test_work_is_batched_and_shown(counting, tmp_path, monkeypatch):
    shown = []

    class Recorder(Silent):
        def task(self, description, total=None, *, done=0, unit="events"):
            shown.append((description, total, unit))
            return super().task(description, total)

        def advance(self, n=1, text=None):
            shown.append(n)

    monkeypatch.setattr(store_module, "BATCH", 3)
    TextStore(tmp_path, counting).add([*TITLES, "Tea", None], Recorder())
    assert shown == [("tokenise", 8, "texts"), 3, 3, 2]
    assert list(map(len, counting.batches)) == [3, 3, 2]


def test_a_second_writer_waits_and_readers_do_not(counting, tmp_path):
    early = TextStore(tmp_path, counting)
    rows = TextStore(tmp_path, counting).add(TITLES[:4])
    with ThreadPoolExecutor(1) as other:
        with alone_in(tmp_path):
            waiting = other.submit(early.add, TITLES)
            assert TextStore(tmp_path, counting).add(TITLES[:4]).tolist() == rows.tolist()  # nothing to write
            assert TextStore(tmp_path, counting).lookup(TITLES[:4]).tolist() == rows.tolist()
            assert not waiting.done()
        assert waiting.result(60).tolist() == list(range(8))
    assert counting.asked == TITLES


def test_a_store_that_was_opened_before_others_wrote_goes_on_after_them(counting, tmp_path):
    first, second = TextStore(tmp_path, counting), TextStore(tmp_path, counting)
    first.add(TITLES[:3])
    assert second.add(TITLES[2:6]).tolist() == [2, 3, 4, 5]
    assert first.add(TITLES).tolist() == list(range(8))
    assert counting.asked == TITLES
    assert sequences(first, np.arange(8)) == [alone(counting.tokenizer, title) for title in TITLES]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("format.json", '{"format": "hydrarec-text", "version": 2}', "no texts that this version of hydrarec reads"),
        ("format.json", "{", "cannot be read"),
        ("tokens.bin", "abcd", r"format\.json is missing; remove the folder"),
    ],
)
def test_a_folder_of_something_else(name, content, message, counting, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        TextStore(tmp_path, counting)


def test_a_file_in_place_of_the_folder(counting, tmp_path):
    (tmp_path / "texts").write_text("")
    with pytest.raises(InputError, match="is a file; choose a folder"):
        TextStore(tmp_path / "texts", counting)

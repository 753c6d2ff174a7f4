import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_models import MINILM, TITLES, item_tokenizer, needs_llm, needs_minilm

from hydrarec.errors import InputError
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.folder import model_folder
from hydrarec.items.text.tokenizer import ITEM, ItemTokenizer

pytestmark = needs_llm


def sequences(tokenizer, texts):
    tokens, offsets = tokenizer(texts)
    assert (tokens.dtype, offsets.dtype) == (np.int32, np.int64)
    assert len(offsets) == len(texts) + 1
    return [part.tolist() for part in np.split(tokens, offsets[1:-1])] if texts else []


def copy_of(words):
    return type(words).from_str(words.to_str())


def test_the_item_token_comes_last_and_is_never_cut(words):
    tokenizer = item_tokenizer(words, max_tokens=8)
    assert (tokenizer.is_new, tokenizer.item_id, tokenizer.size) == (True, 320, 321)
    for title, sequence in zip(TITLES, sequences(tokenizer, TITLES), strict=True):
        assert sequence == [*words.encode(title).ids[:7], 320]
    assert sequences(tokenizer, []) == []


@given(text=st.text(), prompt=st.text(max_size=3), most=st.integers(16, 40))
def test_any_text_is_what_the_models_own_tokenizer_makes_of_it(words, text, prompt, most):
    (sequence,) = sequences(item_tokenizer(words, prompt=prompt, max_tokens=most), [text])
    *own, last = sequence
    assert last == 320
    whole = copy_of(words)
    whole.encode_special_tokens = True
    assert own == whole.encode(prompt + text).ids[: most - 1]


@needs_minilm
def test_bert_reads_cls_text_sep_item():
    tokenizer = ItemTokenizer.load(model_folder(MINILM), TextConfig(model=MINILM, max_tokens=6))
    # The file of this tokenizer asks for 128 tokens with padding; hello and world are 7592 and 2088 in BERT.
    assert sequences(tokenizer, ["Hello world", "hello " * 9, ""]) == [
        [101, 7592, 2088, 102, 30522],
        [101, 7592, 7592, 7592, 102, 30522],
        [101, 102, 30522],
    ]
    assert (tokenizer.item_id, tokenizer.cls_id) == (30522, 101)


def test_a_text_cannot_spell_special_tokens(words):
    (sequence,) = sequences(item_tokenizer(words), ["<s> [ITEM] </s>"])
    assert sequence[0] == 0
    assert not {0, 1, 320} & set(sequence[1:-1])
    assert words.decode(sequence[1:-1], skip_special_tokens=False) == "<s> [ITEM] </s>"


@pytest.mark.parametrize("special", [True, False])
def test_a_tokenizer_that_has_the_item_token_keeps_it(words, special):
    has = copy_of(words)
    (has.add_special_tokens if special else has.add_tokens)(["[OTHER]", ITEM])
    tokenizer = item_tokenizer(has)
    assert (tokenizer.is_new, tokenizer.item_id, tokenizer.size) == (False, 321, 322)
    assert sequences(tokenizer, [f"Tea {ITEM}"])[0].count(321) == 1


def test_identity_tells_what_changes_sequences(words):
    plain = item_tokenizer(words)
    assert plain.identity == item_tokenizer(copy_of(words), pooling="mean", fields=("title",)).identity
    padded = copy_of(words)
    padded.enable_padding(length=99)
    padded.enable_truncation(5)
    assert plain.identity == item_tokenizer(padded).identity
    again = copy_of(words)
    again.add_special_tokens([ITEM])
    assert plain.identity == item_tokenizer(again).identity
    other = copy_of(words)
    other.add_tokens(["garden"])
    others = [item_tokenizer(other), item_tokenizer(words, max_tokens=63), item_tokenizer(words, prompt="Item: ")]
    assert len({plain.identity, *(each.identity for each in others)}) == 4


def test_of_a_very_long_text_only_the_beginning_is_read(words, monkeypatch):
    tokenizer = item_tokenizer(words, max_tokens=16)
    read = []

    class Spy:
        encode_batch_fast = staticmethod(lambda texts: read.extend(texts) or words_tokenizer.encode_batch_fast(texts))

    words_tokenizer = tokenizer._tokenizer
    monkeypatch.setattr(tokenizer, "_tokenizer", Spy)
    long = "garden chairs " * 10_000
    assert sequences(tokenizer, [long]) == [[*words.encode(long).ids[:15], 320]]
    assert list(map(len, read)) == [tokenizer.characters]


def test_no_room_for_text(words):
    with pytest.raises(InputError, match=r"max_tokens is 2; the prompt and special tokens take 2; raise it"):
        item_tokenizer(words, max_tokens=2)
    with pytest.raises(InputError, match="take 15; raise it"):
        item_tokenizer(words, max_tokens=15, prompt="0123456789abc")
    assert item_tokenizer(words, max_tokens=16, prompt="0123456789abc")


def test_a_text_of_which_nothing_is_made():
    from tokenizers import Tokenizer, models

    tokenizer = item_tokenizer(Tokenizer(models.BPE({"a": 0}, [])))
    assert sequences(tokenizer, ["a", "\u263a"]) == [[0, 1], [1]]

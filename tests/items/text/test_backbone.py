from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from language_models import MINILM, TITLES, needs_llm, needs_minilm, pack, save_llama, save_model
from safetensors.torch import load_file
from support import close

from hydrarec.errors import InputError
from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.encode import micro_batches
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.store import TextStore

pytestmark = needs_llm


def load(folder, **settings):
    return Backbone.load(TextConfig(model=str(folder), **settings))


def made(backbone, texts):
    tokens, offsets = backbone.tokenizer(texts)
    return torch.from_numpy(tokens), torch.from_numpy(offsets)


def alone(backbone, tokens, offsets):
    """One sequence at a time, with nothing of ours between them and the model."""
    vectors = []
    for first, last in pairwise(offsets.tolist()):
        ids = tokens[first : last if backbone.pooling == "item" else last - 1].long()
        hidden = backbone.model(input_ids=ids[None]).last_hidden_state[0]
        vectors.append(hidden[-1] if backbone.pooling == "item" else hidden.mean(0))
    return torch.stack(vectors)


def gradients(backbone, vectors, tokens):
    """Of a sum that weighs every number differently, by parameter; only rows that were read have one in tables."""
    names, parameters = zip(*backbone.model.named_parameters(), strict=True)
    weights = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
    found = torch.autograd.grad((vectors * weights).sum(), parameters, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def same_as_alone(backbone, texts, at_once):
    tokens, offsets = made(backbone, texts)
    expected, found = alone(backbone, tokens, offsets), backbone.encode(tokens, offsets, at_once)
    assert found.shape == (len(texts), backbone.width)
    close(found, expected, 1e-5)
    wanted, got = (gradients(backbone, each, tokens) for each in (expected, found))
    assert list(got) == list(wanted)
    largest = max(gradient.abs().max() for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert (got[name] - gradient).abs().max() <= 1e-5 * largest, name
    with torch.no_grad():
        without = backbone(tokens, offsets)
    assert not without.requires_grad
    close(without, expected.detach(), 1e-5)


@needs_minilm
@pytest.mark.parametrize("pooling", ["item", "mean"])
def test_minilm_gives_what_it_gives_one_by_one(minilm, pooling, monkeypatch):
    monkeypatch.setattr(minilm, "pooling", pooling)
    same_as_alone(minilm, TITLES, at_once=48)


@pytest.mark.parametrize("pooling", ["item", "mean"])
@pytest.mark.parametrize("at_once", [1, 60, 10_000])
def test_a_llama_gives_what_it_gives_one_by_one(llama, pooling, at_once):
    same_as_alone(load(llama, pooling=pooling), TITLES, at_once)


def roberta(n):  # counts positions from the tokens that are not padding
    from transformers import RobertaConfig

    return RobertaConfig(vocab_size=n, hidden_size=16, intermediate_size=24, num_attention_heads=2, pad_token_id=1)


def gpt2(n):
    from transformers import GPT2Config

    return GPT2Config(vocab_size=n, n_embd=16, n_layer=2, n_head=2)


def qwen3(n):
    from transformers import Qwen3Config

    narrow = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3Config(vocab_size=n, num_hidden_layers=2, head_dim=8, **narrow)


def mamba(n):  # reads one token after the other, and knows no attention
    from transformers import MambaConfig

    return MambaConfig(vocab_size=n, hidden_size=16, num_hidden_layers=2, state_size=4)


@pytest.mark.parametrize("family", [roberta, gpt2, qwen3, mamba])
def test_every_family_of_models(family, words, tmp_path):
    config = family(words.get_vocab_size())
    config.initializer_range = 0.3
    same_as_alone(load(save_model(tmp_path, config, words)), TITLES, at_once=60)


@needs_minilm
def test_mean_pooling_of_minilm_gives_its_published_similarities(minilm, monkeypatch):
    """The example of semantic search in the documentation of sentence-transformers."""
    monkeypatch.setattr(minilm, "pooling", "mean")
    texts = ["A man is eating pasta.", "A man is eating food.", "A man is eating a piece of bread."]
    texts += ["A man is riding a horse.", "A man is riding a white horse on an enclosed ground."]
    with torch.no_grad():
        query, *others = torch.nn.functional.normalize(minilm.encode(*made(minilm, texts)))
    found = [round(float(query @ other), 4) for other in others]
    assert found == pytest.approx([0.7035, 0.5272, 0.1889, 0.1047], abs=2e-4)


@needs_minilm
def test_the_item_token_starts_as_cls(minilm):
    rows = minilm.model.get_input_embeddings().weight
    assert rows.shape == (30_523, 384)
    assert rows.dtype == torch.float32
    assert minilm.tokenizer.item_id == 30_522
    assert torch.equal(rows[30_522], rows[101])
    assert minilm.model.config.vocab_size == 30_523


def test_without_cls_the_item_token_starts_as_the_mean(llama):
    rows = load(llama).model.get_input_embeddings().weight
    assert len(rows) == 321
    torch.testing.assert_close(rows[320], rows[:320].mean(0))


def test_rows_beyond_the_vocabulary_are_taken_and_do_not_count(words, tmp_path):
    rows = load(save_llama(tmp_path, words, vocab_size=384)).model.get_input_embeddings().weight
    assert len(rows) == 384
    torch.testing.assert_close(rows[320], rows[:320].mean(0))


@pytest.mark.parametrize(("rows", "trained"), [(321, True), (320, False)])
def test_a_row_that_was_trained_is_kept(words, tmp_path, rows, trained):
    has = type(words).from_str(words.to_str())
    has.add_special_tokens(["[ITEM]"])
    folder = save_llama(tmp_path, has, vocab_size=rows)
    saved = load_file(folder / "model.safetensors")["embed_tokens.weight"]
    found = load(folder).model.get_input_embeddings().weight
    assert len(found) == 321
    torch.testing.assert_close(found[320], saved[320] if trained else saved.mean(0))


def test_dropout_is_off_even_in_training(words, tmp_path):
    config = gpt2(words.get_vocab_size())
    assert config.resid_pdrop > 0
    backbone = load(save_model(tmp_path, config, words)).train()
    batch = made(backbone, TITLES)
    assert torch.equal(backbone.encode(*batch), backbone.encode(*batch))


def test_half_precision_when_asked(llama):
    backbone = load(llama, dtype="bfloat16")
    batch = made(backbone, TITLES)
    found = backbone.encode(*batch)
    assert found.dtype == torch.bfloat16
    close(found, load(llama).encode(*batch), 0.1)


def test_the_loaded_model_is_that_of_the_folder(llama):
    """The whole way against transformers alone."""
    from transformers import AutoModel, AutoTokenizer

    backbone = load(llama, pooling="mean", prompt="Item: ")
    model, tokenizer = AutoModel.from_pretrained(llama), AutoTokenizer.from_pretrained(llama)
    for title, vector in zip(TITLES, backbone.encode(*made(backbone, TITLES)), strict=True):
        ids = tokenizer("Item: " + title, truncation=True, max_length=63, return_tensors="pt").input_ids
        close(vector, model(ids).last_hidden_state[0].mean(0), 1e-5)


def test_no_sequence_and_impossible_ones(llama):
    backbone = load(llama, max_tokens=8)
    nothing = backbone.encode(torch.zeros(0, dtype=torch.int32), torch.zeros(1, dtype=torch.int64))
    assert nothing.shape == (0, 32)
    for lengths, message in [((3, 0), "0 to 3 tokens; there must be 1 to 8"), ((9, 2), "2 to 9 tokens")]:
        with pytest.raises(InputError, match=message):
            backbone.encode(*pack([[5] * length for length in lengths]))


def test_a_sequence_of_the_item_token_alone(llama):
    for pooling in ("item", "mean"):
        vectors = load(llama, pooling=pooling).encode(*pack([[320], [0, 5, 320]]))
        assert vectors.isfinite().all()


@given(st.lists(st.integers(1, 64), max_size=40), st.integers(1, 300))
def test_micro_batches_hold_every_sequence_once_and_keep_their_size(lengths, at_once):
    groups = micro_batches(lengths, at_once)
    flat = [row for group in groups for row in group]
    assert sorted(flat) == list(range(len(lengths)))
    assert np.all(np.diff([lengths[row] for row in flat]) <= 0)
    for group in groups:
        assert len(group) == 1 or len(group) * lengths[group[0]] <= at_once
    for group, following in pairwise(groups):
        assert (len(group) + 1) * lengths[group[0]] > at_once, f"{following} begins too early"


@needs_minilm
def test_real_titles_from_table_to_vectors(minilm, tmp_path):
    path = Path(__file__).parents[4] / "shared/datasets/amazon2014-beauty/items.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} of Beauty is not here")
    items = pq.read_table(path).slice(0, 64)
    texts = sentences(items, TextConfig(model=MINILM, fields=("title",)))
    store = TextStore(tmp_path, minilm.tokenizer)
    rows = store.add(texts)
    assert np.array_equal(rows >= 0, has_text(texts))
    tokens, offsets = map(torch.from_numpy, store.tokens(rows[rows >= 0]))
    with torch.no_grad():
        close(minilm.encode(tokens, offsets), alone(minilm, tokens, offsets), 1e-5)

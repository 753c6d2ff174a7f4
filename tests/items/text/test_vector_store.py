"""Vectors that are made once, on disk."""

import numpy as np
import pytest
import torch
from language_models import TITLES, needs_llm, save_llama
from safetensors.torch import load_file, save_file

from hydrarec.errors import InputError
from hydrarec.items.text import vectors as vectors_module
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.source import TextSource, cache_folder
from hydrarec.items.text.vectors import model_identity

pytestmark = needs_llm


@pytest.fixture
def source(llama, tmp_path):
    return TextSource(TextConfig(model=str(llama)), tmp_path)


class BrokenError(Exception):
    pass


def failing_after(backbone, calls):
    """A backbone that reads so many batches and dies."""
    left = [calls]

    class Failing:
        width = backbone.width

        def encode(self, tokens, offsets):
            if not left[0]:
                raise BrokenError
            left[0] -= 1
            return backbone.encode(tokens, offsets)

    return Failing()


def test_vectors_are_the_models_whatever_the_order(source):
    rows = source.texts.add(TITLES)
    asked = rows[[3, 0, 3, 7]]
    tokens, offsets = map(torch.from_numpy, source.texts.tokens(asked))
    with torch.no_grad():
        expected = source.backbone.encode(tokens, offsets)
    torch.testing.assert_close(torch.from_numpy(source.vectors.vectors(asked)), expected)
    assert source.vectors.vectors(rows[:0]).shape == (0, source.backbone.width)


def test_a_text_is_read_once_by_all_runs(source, llama, tmp_path):
    rows = source.texts.add(TITLES)
    first = source.vectors.vectors(rows)
    other = TextSource(TextConfig(model=str(llama)), tmp_path)
    again = other.texts.add([*TITLES[::-1], "new"])
    other.vectors._backbone = lambda: failing_after(source.backbone, 1)
    found = other.vectors.vectors(again)
    assert np.array_equal(found[:-1], first[::-1])
    other.vectors._backbone = lambda: failing_after(source.backbone, 0)
    assert np.array_equal(other.vectors.vectors(again), found)


def test_what_was_read_before_an_interruption_is_kept(source, monkeypatch):
    monkeypatch.setattr(vectors_module, "BATCH", 3)
    rows = source.texts.add(TITLES)
    whole = source.backbone
    source.vectors._backbone = lambda: dying
    dying = failing_after(whole, 2)
    with pytest.raises(BrokenError):
        source.vectors.vectors(rows)
    dying = failing_after(whole, 1)  # 8 texts: one batch is left
    assert source.vectors.vectors(rows).shape == (8, whole.width)


def test_other_weights_or_pooling_are_another_model(llama, words, tmp_path):
    config = TextConfig(model="x")
    assert model_identity(llama, config) == model_identity(llama, config)
    assert model_identity(llama, config) != model_identity(llama, TextConfig(model="x", pooling="mean"))
    other = save_llama(tmp_path / "other", words)
    assert model_identity(other, config) == model_identity(llama, config)
    weights = load_file(other / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert model_identity(other, config) != model_identity(llama, config)


def test_a_damaged_store_is_refused(source):
    source.vectors.vectors(source.texts.add(TITLES))
    folder = source.vectors._entries.folder
    (folder / "format.json").write_text("{}")
    with pytest.raises(InputError, match="holds no texts that this version"):
        source.vectors.vectors(source.texts.lookup(TITLES))


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HYDRAREC_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("HYDRAREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hydrarec"

"""No test of a language model asks the network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported

import pytest
from language_models import MINILM, save_llama, trained_tokenizer

from hydrarec.items.text.config import TextConfig


@pytest.fixture(scope="session")
def words():
    """A tokenizer, of the library tokenizers, trained on a few titles."""
    pytest.importorskip("tokenizers", reason="tokenizers (extra llm) is not installed")
    return trained_tokenizer()


@pytest.fixture(scope="session")
def llama(words, tmp_path_factory):
    """The folder of a tiny Llama that knows nothing. Copy it before changing anything."""
    return save_llama(tmp_path_factory.mktemp("llama"), words)


@pytest.fixture(scope="session")
def minilm():
    """MiniLM with [ITEM]. Leave it as it is."""
    from hydrarec.items.text.backbone import Backbone

    return Backbone.load(TextConfig(model=MINILM))

"""The texts of a catalog as a language model reads them: tokens once, vectors once."""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.folder import model_folder
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.store import TextStore
from hydrarec.items.text.tokenizer import ItemTokenizer
from hydrarec.items.text.vectors import VectorStore, model_identity


class TextSource:
    """A language model and what it has read, shared by all runs of a machine.

    Attributes:
        folder: of the language model.

    Args:
        cache: folder of tokens and vectors; None: ``cache_folder()``.
    """

    def __init__(self, config: TextConfig, cache: Path | None = None) -> None:
        self.config = config
        self.folder = model_folder(config.model)
        self._cache = cache or cache_folder()

    @cached_property
    def backbone(self) -> Backbone:
        """The language model as it was before it learned anything here."""
        with torch.random.fork_rng(devices=[]):  # what is random in a run is not to depend on what was read before
            return Backbone.load(self.config)

    @cached_property
    def texts(self) -> TextStore:
        return TextStore(self._cache / "tokens", ItemTokenizer.load(self.folder, self.config))

    @cached_property
    def vectors(self) -> VectorStore:
        identity = model_identity(self.folder, self.config)
        return VectorStore(self._cache / "vectors", self.texts, lambda: self.backbone, identity)

    def sentences(self, items: pa.Table) -> tuple[pa.Array, np.ndarray]:
        """The text of each item of a table, and (I,) bool which of them have one."""
        texts = sentences(items, self.config)
        return texts, has_text(texts)


def cache_folder() -> Path:
    """``HYDRAREC_CACHE``, else ``hydrarec`` in the user's folder of caches."""
    if found := os.environ.get("HYDRAREC_CACHE"):
        return Path(found).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hydrarec"

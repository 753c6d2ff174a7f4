"""Texts read as a trained model reads them: with what its language model has learned."""

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from hydrarec.items.config import ItemsConfig
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.source import TextSource
from hydrarec.items.text.trainable import make_trainable, put
from hydrarec.items.text.tuning import by_name
from hydrarec.progress import Progress


class TextReader:
    """The language model of a trained run. It is loaded when the first text is read that no cache has.

    Raises:
        InputError: the language model is gone, or is another than in training.
    """

    def __init__(self, config: ItemsConfig, items: TextItems) -> None:
        self._source, self._learned = TextSource(config.text), by_name(items.learned)
        self._tuning, self._tuned = config.tuning, False

    def read(self, texts: pa.Array, progress: Progress) -> Tensor:
        """Text vectors (n, h) float32 of texts (n,), none null."""
        rows = self._source.texts.add(texts, progress)
        if not self._learned:
            return torch.from_numpy(self._source.vectors.vectors(rows, progress))
        self._tune()
        distinct, place = np.unique(rows, return_inverse=True)
        tokens, offsets = map(torch.from_numpy, self._source.texts.tokens(distinct))
        with torch.no_grad():
            return self._source.backbone.encode(tokens, offsets).float()[torch.from_numpy(place)]

    def _tune(self) -> None:
        """Put what was learned into the language model, once."""
        if not self._tuned:
            config = self._tuning
            adapters = 0 if config.mode == "full" else config.rank
            put(make_trainable(self._source.backbone, adapters=adapters, layers=config.layers), self._learned)
            self._tuned = True

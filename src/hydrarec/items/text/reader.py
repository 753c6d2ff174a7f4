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


def read_texts(config: ItemsConfig, items: TextItems, texts: pa.Array, progress: Progress) -> Tensor:
    """Text vectors (n, h) float32 of texts (n,), none null.

    Raises:
        InputError: the language model is gone, or is another than in training.
    """
    source = TextSource(config.text)
    rows = source.texts.add(texts, progress)
    if not items.learned:
        return torch.from_numpy(source.vectors.vectors(rows, progress))
    backbone, tuning = source.backbone, config.tuning
    parameters = make_trainable(backbone, adapters=0 if tuning.mode == "full" else tuning.rank, layers=tuning.layers)
    put(parameters, by_name(items.learned))
    distinct, place = np.unique(rows, return_inverse=True)
    tokens, offsets = map(torch.from_numpy, source.texts.tokens(distinct))
    with torch.no_grad():
        return backbone.encode(tokens, offsets).float()[torch.from_numpy(place)]

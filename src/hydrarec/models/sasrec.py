"""SASRec: self-attention over the history."""

import math
from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, TimedConfig, TimedModel
from hydrarec.nn import sasrec
from hydrarec.nn.dropout import quick_dropout
from hydrarec.nn.padded import in_rectangles
from hydrarec.nn.rival import RivalConfig


@dataclass(frozen=True, kw_only=True)
class SASRecConfig(TimedConfig, RivalConfig):
    """As published: one head, and a feed-forward part of width d (``ffn=None``)."""

    n_heads: int = 1
    ffn: float | None = None


class SASRec(TimedModel):
    """Kang & McAuley 2018 (arXiv 1808.09781), item vectors times sqrt(d) as in its code.

    Positions count from the start of what is read, so that one pass answers at every event of a history.
    """

    name = "sasrec"
    config: SASRecConfig

    def __init__(self, config: SASRecConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = quick_dropout(sasrec.SASRec(config))

    def encode(self, batch: Batch) -> Tensor:
        return in_rectangles(self.encoder, batch.offsets, self.inputs(batch, math.sqrt(self.config.d_model)))

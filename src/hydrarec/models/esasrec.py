"""eSASRec: SASRec with LiGR layers."""

import math
from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, TimedConfig, TimedModel
from hydrarec.nn.dropout import quick_dropout
from hydrarec.nn.ligr import LiGR
from hydrarec.nn.padded import in_rectangles
from hydrarec.nn.rival import RivalConfig


@dataclass(frozen=True, kw_only=True)
class ESASRecConfig(TimedConfig, RivalConfig):
    """As in RecTools: four heads, and SwiGLU of width 4 d (``ffn=None``)."""

    n_heads: int = 4
    ffn: float | None = None


class ESASRec(TimedModel):
    """Tikhonovich et al. 2025 (arXiv 2508.06450), with the loss and the scorer of the settings.

    Its code counts positions from the end of the window. Here they count from the start: an event's hidden state must
    not tell how many events follow. Item vectors are times sqrt(d), as SASRec's: our table begins with smaller ones
    than its code, and next to positions the first epochs would learn little of them.
    """

    name = "esasrec"
    config: ESASRecConfig

    def __init__(self, config: ESASRecConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = quick_dropout(LiGR(config))

    def encode(self, batch: Batch) -> Tensor:
        return in_rectangles(self.encoder, batch.offsets, self.inputs(batch, math.sqrt(self.config.d_model)))

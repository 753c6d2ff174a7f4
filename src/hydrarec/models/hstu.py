"""HSTU: pointwise attention with a bias of distance and time."""

import math
from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, NeuralModel, ScorerConfig
from hydrarec.nn import hstu
from hydrarec.nn.dropout import quick_dropout
from hydrarec.nn.padded import in_rectangles
from hydrarec.nn.rival import RivalConfig


@dataclass(frozen=True, kw_only=True)
class HSTUConfig(ScorerConfig, RivalConfig):
    """As published on MovieLens-1M with ``d_model=50``; HSTU-large has 8 layers and 2 heads there.

    Queries, keys and values of a head are d / n_heads wide, as in all published sizes.

    Attributes:
        time: look at the time between the events and the request; False: at positions only.
    """

    n_heads: int = 1
    ffn: float | None = None
    time: bool = True


class HSTU(NeuralModel):
    """Zhai et al. 2024 (arXiv 2402.17152), as its public code has it: item vectors times sqrt(d) and a position each.

    The hidden state of an event knows when it is asked: in training, the time of its target.
    """

    name = "hstu"
    config: HSTUConfig

    def __init__(self, config: HSTUConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = quick_dropout(hstu.HSTU(config, time=config.time))

    def encode(self, batch: Batch) -> Tensor:
        x = self.items.encode_history(batch.items) * math.sqrt(self.config.d_model)
        moments = (batch.times, batch.request_times) if self.config.time else ()
        return in_rectangles(self.encoder, batch.offsets, x, *moments)

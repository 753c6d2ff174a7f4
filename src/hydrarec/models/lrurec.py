"""LRURec: linear recurrent units over the history."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, TimedConfig, TimedModel
from hydrarec.nn.lrurec import LRURecEncoder
from hydrarec.nn.post_norm import PostNormConfig


@dataclass(frozen=True, kw_only=True)
class LRURecConfig(TimedConfig, PostNormConfig):
    """As published, but for the scorer: the paper's is a plain product, with a bias for every item
    (equation 10)."""


class LRURec(TimedModel):
    """Yue et al. 2024 (arXiv 2310.02367). It reads whole histories and keeps no state between calls."""

    name = "lrurec"
    config: LRURecConfig

    def __init__(self, config: LRURecConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = LRURecEncoder(config)

    def encode(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.encoder(self.inputs(batch), batch.offsets)
        return hidden

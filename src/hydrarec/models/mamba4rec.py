"""Mamba4Rec: Mamba blocks over the history."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, TimedConfig, TimedModel
from hydrarec.nn.mamba4rec import Mamba4RecEncoder, Mamba4RecSizes


@dataclass(frozen=True, kw_only=True)
class Mamba4RecConfig(TimedConfig, Mamba4RecSizes):
    """As published for MovieLens-1M, but for the scorer: the paper's is a plain product."""


class Mamba4Rec(TimedModel):
    """Liu et al. 2024 (arXiv 2403.03900). It reads whole histories and keeps no state between calls."""

    name = "mamba4rec"
    config: Mamba4RecConfig

    def __init__(self, config: Mamba4RecConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = Mamba4RecEncoder(config)

    def encode(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.encoder(self.inputs(batch), batch.offsets)
        return hidden

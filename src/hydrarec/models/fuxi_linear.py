"""FuXi-Linear: retention, time and position in channels of their own."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import Items, NeuralModel, ScorerConfig
from hydrarec.nn.fuxi_linear import FuXiLinearEncoder, FuXiLinearSizes


@dataclass(frozen=True, kw_only=True)
class FuXiLinearConfig(ScorerConfig, FuXiLinearSizes):
    """The encoder's settings and the scorer's, which is the published one."""


class FuXiLinear(NeuralModel):
    """Ye et al. 2026 (arXiv 2602.23671).

    With ``time`` the hidden state of an event knows when it is asked: in training, the time of its target.
    """

    name = "fuxi_linear"
    config: FuXiLinearConfig

    def __init__(self, config: FuXiLinearConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = FuXiLinearEncoder(config)

    def encode(self, batch: Batch) -> Tensor:
        hidden: Tensor = self.encoder(self.items.encode_history(batch.items), batch)
        return hidden

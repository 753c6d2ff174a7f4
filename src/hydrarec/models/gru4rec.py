"""GRU4Rec: a gated recurrent network over the history."""

from dataclasses import dataclass

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.errors import InputError
from hydrarec.models.neural import Items, TimedConfig, TimedModel
from hydrarec.nn import gru
from hydrarec.nn.dropout import quick_dropout
from hydrarec.nn.padded import in_rectangles
from hydrarec.nn.rival import LayersConfig

WASTE = 1000  # a step of a recurrence costs about the same for few histories as for many


@dataclass(frozen=True, kw_only=True)
class GRU4RecConfig(TimedConfig, LayersConfig):
    """One layer without residuals, norms or a feed-forward part.

    Attributes:
        d_hidden: width of a layer; None: 2 d, as in RecBole.
    """

    n_layers: int = 1
    d_hidden: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_hidden is not None and self.d_hidden < 1:
            raise InputError(f"d_hidden must be at least 1, not {self.d_hidden}")


class GRU4Rec(TimedModel):
    """Hidasi et al. 2016 (arXiv 1511.06939), with the item vectors that it scores as its inputs, and dropout on them.

    It reads whole histories and keeps no state between calls.
    """

    name = "gru4rec"
    config: GRU4RecConfig

    def __init__(self, config: GRU4RecConfig, items: Items) -> None:
        super().__init__(config, items)
        self.encoder = quick_dropout(gru.GRU4Rec(config, config.d_hidden or 2 * config.d_model))

    def encode(self, batch: Batch) -> Tensor:
        return in_rectangles(self.encoder, batch.offsets, self.inputs(batch), waste=WASTE)

"""What all neural models share: item encoder, sequence encoder, scorer."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.table import ItemTable
from hydrarec.models.contract import Model
from hydrarec.nn.norm import unit
from hydrarec.nn.time import Gaps, TimeFeatures

Items = ItemEncoder | int  # an encoder, or for how many items a plain table is made


@dataclass(frozen=True, kw_only=True)
class ScorerConfig:
    """The scorer's settings. Where a model's configuration has the encoder's too, this class comes first.

    Attributes:
        normalize: L2-normalise hidden states and item vectors before their product.
        temperature: divides the normalised product.
    """

    normalize: bool = True
    temperature: float = 0.05

    def __post_init__(self) -> None:
        getattr(super(), "__post_init__", lambda: None)()  # the checks of the encoder's settings
        if not self.temperature > 0:
            raise InputError(f"temperature must be positive, not {self.temperature}")


@dataclass(frozen=True, kw_only=True)
class TimedConfig(ScorerConfig):
    """The settings of a model that can read time or leave it.

    Attributes:
        time: read how much time passes between events, and from the last one to the request.
    """

    time: bool = False


class NeuralModel(nn.Module, Model):
    """A model that is trained by gradient: hidden states of events against item vectors.

    With ``normalize`` both are L2-normalised and their product is divided by ``temperature``; otherwise the score is
    the plain dot product.
    """

    chunk_items = 65_536  # items scored at once

    def __init__(self, config: Any, items: Items) -> None:
        super().__init__()
        self.config = config
        self.items = ItemTable(items, config.d_model) if isinstance(items, int) else items

    @classmethod
    def for_data(cls, config: Any, dataset: Dataset, items: ItemEncoder | None = None) -> Self:
        """An untrained model of the items of ``dataset``; their encoder is a plain table, where none is given."""
        return cls(config, items or dataset.n_items)

    @property
    def sees_request_time(self) -> bool:
        return bool(getattr(self.config, "time", False))  # not every model has the setting

    @property
    def n_items(self) -> int:  # type: ignore[override]  # the item encoder knows; models that count set it
        return self.items.n_items

    @property
    def reads_unknown_items(self) -> bool:
        """Whether histories may have items without a row (``items.fallback.rows_beyond``)."""
        return self.items.fallback is not None

    @property
    def scale(self) -> float:
        """What dot products are multiplied by."""
        return 1 / self.config.temperature if self.config.normalize else 1.0

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """(T, d) hidden states: h[t] has seen its user's events up to and including t."""

    def queries(self, hidden: Tensor) -> Tensor:
        """(n, d) hidden states as they meet the catalog."""
        return unit(hidden) if self.config.normalize else hidden

    def vectors(self, rows: Tensor) -> Tensor:
        """(n, d) vectors of the items ``rows`` (n,) as they meet the queries."""
        return self._met(self.items.encode(rows))

    def catalog(self) -> Tensor:
        """(V, d) the same of all items."""
        return self._met(self.items.catalog())

    def chunks(self) -> Iterator[tuple[int, Tensor]]:
        """(first row, vectors (n, d)) of the catalog in order, as they meet the queries."""
        for first, vectors in self.items.chunks(self.chunk_items):
            yield first, self._met(vectors)

    def _met(self, vectors: Tensor) -> Tensor:
        return unit(vectors) if self.config.normalize else vectors

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        return self.score_hidden(self.hidden_at(batch, batch.last))

    def hidden_at(self, batch: Batch, places: Tensor) -> Tensor:
        """(n, d) hidden states of the events at these places (n,) of the batch: one pass answers many requests."""
        return self.encode(batch)[places]

    def score_hidden(self, hidden: Tensor, among: range | None = None) -> Iterator[tuple[int, Tensor]]:
        """Scores of the catalog, or of the rows ``among`` it, in chunks, given one hidden state a history (B, d)."""
        queries = self.queries(hidden) * self.scale
        for first, vectors in self.chunks():
            rows = range(first, first + len(vectors))
            if among is not None:
                rows = range(max(first, among.start), min(rows.stop, among.stop))
            if rows:
                yield rows.start, queries @ vectors[rows.start - first : rows.stop - first].T

    def parameter_counts(self) -> dict[str, int]:
        """Numbers that training changes: of the items and of the rest."""
        items = sum(p.numel() for p in self.items.parameters())
        return {"items": self.items.n_learned, "encoder": sum(p.numel() for p in self.parameters()) - items}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.state_dict())

    @classmethod
    def from_tensors(cls, config: Any, items: Items, tensors: dict[str, Tensor]) -> Self:
        model = cls(config, items)
        model.load_state_dict(tensors)
        return model.eval()


class TimedModel(NeuralModel):
    """A model whose own paper has no time, and which can be given the times that Hydra sees."""

    config: TimedConfig

    def __init__(self, config: Any, items: Items) -> None:
        super().__init__(config, items)
        if config.time:
            self.time = TimeFeatures(config.d_model)

    def inputs(self, batch: Batch, scale: float = 1.0) -> Tensor:
        """(T, d) item vectors times ``scale``, and the features of time where they are asked for."""
        x = self.items.encode_history(batch.items) * scale
        return x + self.time(Gaps.of(batch)) if self.config.time else x

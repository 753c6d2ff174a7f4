"""The language model learns along with the model that reads its vectors.

Only items of a step have live vectors; all others keep the ones that were last made of them. Gradients of vectors reach
the language model through the texts of a step's items (GradCache, Gao et al. 2021, arXiv 2101.06983): where they do not
fit memory at once, they are read without gradient first and, once the loss has told the gradients of their vectors,
again in parts.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from hydrarec.items.config import TuningConfig
from hydrarec.items.text.backbone import Backbone
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.lower import LowerLayers
from hydrarec.items.text.store import TextStore
from hydrarec.items.text.trainable import make_trainable, stack


class Tuning:
    """One language model in training.

    Attributes:
        tokens_forward, tokens_backward: read since they were last taken, without padding.
        parameters: how many numbers are ``learning``, how many are in the matrices that a token is ``read`` by, and how
            many in those below, which read it once.

    Args:
        items: given the parameters that learn.
        backbone: changed in place.
        texts: where the tokens are.
        rows: (V,) the text of each item in ``texts``, -1 where it has none.
    """

    def __init__(
        self, items: TextItems, backbone: Backbone, texts: TextStore, rows: np.ndarray, config: TuningConfig
    ) -> None:
        self.items, self.backbone, self.config = items, backbone, config
        self._texts, self._rows = texts, rows
        learned = make_trainable(backbone, adapters=0 if config.mode == "full" else config.rank, layers=config.layers)
        items.learned = as_dict(learned)
        if config.mode == "cached":
            items.register_buffer("gathered", torch.zeros_like(items.vectors))
        above = stack(backbone.model)[-config.layers :] if config.layers else [backbone]
        self.parameters = {
            "learning": sum(parameter.numel() for parameter in learned.values()),
            "read": sum(_in_matrices(part) for part in above),
            "lower": _in_matrices(backbone) - sum(_in_matrices(part) for part in above),
        }
        self.tokens_forward = self.tokens_backward = 0
        self._distinct, self._entry = np.unique(rows, return_inverse=True)  # one sequence, whatever items share it
        self._lower: LowerLayers | None = None
        if config.layers:
            _, offsets = texts.tokens(self._distinct[self._distinct >= 0])
            padding = np.zeros((self._distinct < 0).sum(), np.int64)  # no text is an empty one
            self._lower = LowerLayers(backbone, np.concatenate([padding, offsets]), config.layers)
        self._live: tuple[np.ndarray, Tensor, Tensor] | None = None  # entries, their vectors, the leaf the loss saw

    @property
    def learns(self) -> bool:
        """Whether the language model does: a start may leave it as it is."""
        return any(parameter.requires_grad for parameter in self.items.learned.values())

    @property
    def tokens_of_all(self) -> int:
        """In the texts of the catalog, those that items share counted once."""
        return self._tokens(np.flatnonzero(self._distinct >= 0))

    def before(self, rows: Tensor) -> None:
        """Give the items of a step's events and targets (n,) live vectors."""
        mode = self.config.mode
        if mode == "cached":
            self.items.live = self.items.vectors.detach().requires_grad_()
            return
        entries = np.unique(self._entry[torch.unique(rows).cpu().numpy()])
        entries = entries[self._distinct[entries] >= 0]
        if mode == "partial" and len(entries) > self.config.budget:
            chosen = torch.randperm(len(entries))[: self.config.budget].numpy()
            entries = entries[np.sort(chosen)]
        again = self._tokens(entries) > self.config.tokens
        with torch.set_grad_enabled(not again):
            vectors = self._read(entries, backward=not again)
        seen = vectors.detach().requires_grad_() if again else vectors
        self._live = entries, vectors, seen
        self.items.live = self._spread(entries, seen)

    def after(self, step: int) -> None:
        """Bring the gradients of vectors to the language model, once the loss has gone backward.

        Args:
            step: steps done before this one.
        """
        items = self.items
        if self.config.mode == "cached":
            assert items.live is not None
            if items.live.grad is not None:
                items.gathered += items.live.grad
            if (step + 1) % self.config.every == 0:
                self._learn_gathered()
        elif self._live is not None:
            entries, vectors, seen = self._live
            if seen is not vectors and seen.grad is not None:
                self._again(entries, seen.grad)
            with torch.no_grad():
                items.vectors = self._spread(entries, vectors.detach())
        items.live = self._live = None

    def take_counts(self) -> tuple[int, int]:
        """Tokens read forward and backward since this was last asked."""
        counts = self.tokens_forward, self.tokens_backward
        self.tokens_forward = self.tokens_backward = 0
        return counts

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the vectors of all items from the language model as it is now."""
        entries = np.flatnonzero(self._distinct >= 0)
        for part in self._parts(entries):
            self.items.vectors = self._spread(entries[part], self._read(entries[part], backward=False))

    def _learn_gathered(self) -> None:
        items = self.items
        touched = items.gathered.abs().sum(1).nonzero()[:, 0].cpu().numpy()
        entries = np.unique(self._entry[touched])
        entries = entries[self._distinct[entries] >= 0]
        # Entries' gradients are sums over the items that share them.
        place = torch.from_numpy(self._entry).to(items.gathered.device)
        gradient = items.gathered.new_zeros(len(self._distinct), items.gathered.shape[1])
        gradient.index_add_(0, place, items.gathered * (items.scale / self.config.every))
        vectors = self._again(entries, gradient[torch.from_numpy(entries).to(place)])
        with torch.no_grad():
            items.vectors = self._spread(entries, vectors)
            items.gathered.zero_()

    def _again(self, entries: np.ndarray, gradient: Tensor) -> Tensor:
        """Read entries (n,) in parts, and go backward from the gradient (n, h) of their vectors; return these."""
        vectors = torch.empty_like(gradient)
        for part in self._parts(entries):
            found = self._read(entries[part], backward=True)
            found.backward(gradient[torch.from_numpy(part)])
            vectors[torch.from_numpy(part)] = found.detach()
        return vectors

    def _read(self, entries: np.ndarray, *, backward: bool) -> Tensor:
        """(n, h) float32."""
        tokens, offsets = map(torch.from_numpy, self._texts.tokens(self._distinct[entries]))
        self.tokens_forward += len(tokens)
        self.tokens_backward += len(tokens) * backward
        if self._lower is not None:
            return self._lower.encode(entries, tokens, offsets).float()
        return self.backbone.encode(tokens, offsets).float()

    def _parts(self, entries: np.ndarray) -> Iterator[np.ndarray]:
        """Places in ``entries``, longest texts first, of so many tokens at a time as the settings say."""
        _, offsets = self._texts.tokens(self._distinct[entries])
        lengths = np.diff(offsets)
        order = np.argsort(-lengths, kind="stable")
        number = (np.cumsum(lengths[order]) - 1) // self.config.tokens
        yield from np.split(order, np.flatnonzero(np.diff(number)) + 1) if len(order) else ()

    def _tokens(self, entries: np.ndarray) -> int:
        return int(self._texts.tokens(self._distinct[entries])[1][-1])

    def _spread(self, entries: np.ndarray, vectors: Tensor) -> Tensor:
        """The vectors (V, h) of all items, those of ``entries`` (n,) replaced by ``vectors`` (n, h)."""
        place = np.full(len(self._distinct), -1)
        place[entries] = np.arange(len(entries))
        of_items = place[self._entry]
        rows = np.flatnonzero(of_items >= 0)
        to = torch.from_numpy(rows).to(vectors.device)
        return self.items.with_vectors(to, vectors[torch.from_numpy(of_items[rows]).to(vectors.device)])


def _in_matrices(part: nn.Module) -> int:
    return sum(inner.weight.numel() for inner in part.modules() if isinstance(inner, nn.Linear))


def as_dict(parameters: dict[str, nn.Parameter]) -> nn.ParameterDict:
    """Under names that a module may have: no dots."""
    return nn.ParameterDict({name.replace(".", "|"): parameter for name, parameter in parameters.items()})


def by_name(parameters: nn.ParameterDict) -> dict[str, Tensor]:
    """What ``as_dict`` was given."""
    return {name.replace("|", "."): parameter.detach() for name, parameter in parameters.items()}

"""The item encoder that reads: a vector of the item's text, mapped to the model's width, beside a learned one."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from hydrarec.items.adapters import DomainAdapters
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.rows import RowEncoder
from hydrarec.items.tables import Table

_STD = 0.02  # of what is learned, at the start


class TextItems(ItemEncoder):
    """``W (t - m) s + g e``: text vectors t less the mean m of their domain, and where there is a table its vectors e.

    A text vector is what a language model last made of the text. An item without text has nothing of the first, an item
    that was never trained nothing of the second.

    Attributes:
        vectors: (V, h) float32, (t - m) s; zeros for items without text.
        item_domains: (V,) int16; 0 for all where there are no domains.
        means: (D, h), m; zeros where vectors are not centred.
        scale: (), s: makes the mean square norm of the centred vectors 1.
        known: (V,) float32, 1 for items with a training event; where there is a table.
        table, gate: e and g; None without a table.
        adapters: of domains, beside W; or None.
        learned: what of the language model was trained, by its name there with ``|`` for dots; empty if it is frozen.
        gathered: (V, h) the gradient of ``vectors`` since the language model last learned, where it is gathered.

    Args:
        table: of a learned vector for each item too; or None.
        adapter: rank of a map for each domain, which what is made of texts goes through; 0: none.
    """

    vectors: Tensor
    item_domains: Tensor
    means: Tensor
    scale: Tensor
    known: Tensor
    gathered: Tensor

    def __init__(
        self, n_items: int, h: int, width: int, *, n_domains: int = 1, table: Table | None = None, adapter: int = 0
    ) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(n_items, h))
        self.register_buffer("item_domains", torch.zeros(n_items, dtype=torch.int16))
        self.register_buffer("means", torch.zeros(n_domains, h))
        self.register_buffer("scale", torch.ones(()))
        self.project = nn.Linear(h, width, bias=False)
        nn.init.normal_(self.project.weight, std=_STD)
        self.adapters = DomainAdapters(n_domains, width, adapter) if adapter else None
        self.table = table
        if table is not None:
            self.gate = nn.Parameter(torch.ones(()))
            self.register_buffer("known", torch.ones(n_items))
        self.learned = nn.ParameterDict()
        self.live: Tensor | None = None  # (V, h) in place of ``vectors`` in a step that trains the language model
        self._memo: tuple[Any, Tensor] | None = None

    @property
    def n_items(self) -> int:  # type: ignore[override]  # others count it themselves
        return len(self.vectors)

    @property
    def n_learned(self) -> int:
        return super().n_learned + (self.table.n_learned if isinstance(self.table, RowEncoder) else 0)

    @torch.no_grad()
    def fill(self, vectors: Tensor, has_text: Tensor, item_domains: Tensor | None, *, center: bool) -> None:
        """Take text vectors (n, h) of the items with text, of which ``has_text`` (V,) tells, and center them."""
        self._memo = None
        if item_domains is not None:
            self.item_domains.copy_(item_domains)
        domains = self.item_domains.long()
        if center:
            counts = domains[has_text].bincount(minlength=len(self.means)).clamp(min=1)
            self.means.zero_().index_add_(0, domains[has_text], vectors).div_(counts[:, None])
        square = (vectors - self.means[domains[has_text]]).square().sum(1).mean()
        self.scale.copy_(square.clamp(min=1e-12).rsqrt())
        self.vectors.zero_()
        self.vectors[has_text] = self._centred(vectors, domains[has_text])

    @torch.no_grad()
    def rescale(self, scale: Tensor) -> None:
        """Take another scale () in place of the vectors' own."""
        self.vectors.mul_(scale / self.scale)
        self.scale.copy_(scale)

    def with_vectors(self, rows: Tensor, vectors: Tensor) -> Tensor:
        """``self.vectors`` (V, h) with text vectors (n, h) of ``rows`` (n,) in place of what these had."""
        return self.vectors.index_copy(0, rows, self._centred(vectors, self.item_domains[rows].long()))

    def encode(self, rows: Tensor) -> Tensor:
        found = self._mapped(embedding(rows, self._current), self.item_domains[rows])
        if self.table is not None:
            found = found + self.gate * self.known[rows][..., None] * self.table.encode(rows)
        return found

    def catalog(self) -> Tensor:
        if torch.is_grad_enabled() or self.training:
            return self._catalog()
        made_of = tuple((t.data_ptr(), t._version) for t in (*self.parameters(), *self.buffers()))
        if self._memo is None or self._memo[0] != made_of:
            self._memo = (made_of, self._catalog())
        return self._memo[1]

    def train(self, mode: bool = True) -> Self:
        self._memo = None  # optimisers change weights and leave their versions as they are
        return super().train(mode)

    @torch.no_grad()
    def add(self, vectors: Tensor, has_text: Tensor, item_domains: Tensor | None = None) -> None:
        """Append items: text vectors (k, h) of those with text, of which ``has_text`` (n,) tells; none is known."""
        self._memo = None
        n = len(has_text)
        fresh = self.item_domains.new_zeros(n) if item_domains is None else item_domains.to(self.item_domains)
        rows = self.vectors.new_zeros(n, self.vectors.shape[1])
        rows[has_text] = self._centred(vectors, fresh[has_text].long())
        self.vectors = torch.cat([self.vectors, rows])
        self.item_domains = torch.cat([self.item_domains, fresh])
        if "gathered" in self._buffers:
            self.gathered = torch.cat([self.gathered, self.gathered.new_zeros(n, self.gathered.shape[1])])
        if self.table is not None:
            self.table.add(n)
            self.known = torch.cat([self.known, self.known.new_zeros(n)])

    @property
    def _current(self) -> Tensor:
        return self.vectors if self.live is None else self.live

    def _catalog(self) -> Tensor:
        found = self._mapped(self._current, self.item_domains)
        if self.table is not None:
            found = found + self.gate * self.known[:, None] * self.table.catalog()
        return found

    def _mapped(self, vectors: Tensor, domains: Tensor) -> Tensor:
        """What is made of centred text vectors (..., h): (..., d)."""
        found: Tensor = self.project(vectors)
        if self.adapters is not None:
            adapted: Tensor = self.adapters(found.flatten(0, -2), domains.flatten())  # (n, d)
            found = adapted.view_as(found)
        return found

    def _centred(self, vectors: Tensor, domains: Tensor) -> Tensor:
        """(t - m) s for text vectors (n, h) of items of these domains (n,)."""
        return (vectors - self.means[domains]) * self.scale

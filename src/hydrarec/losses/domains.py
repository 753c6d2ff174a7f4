"""A loss among the items of the target's own domain: one call of the loss a domain, whatever the loss is."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hydrarec.losses.catalog import Catalog, Part


class MeanLoss(Protocol):
    """(hidden (n, d), catalog of m items, targets (n,), targets to draw from) -> mean ()."""

    def __call__(self, hidden: Tensor, catalog: Catalog, targets: Tensor, *, among: Tensor | None) -> Tensor: ...


class ByDomain:
    """The item rows of a catalog by domain.

    Attributes:
        number: (V,) int64, the domain of each item; domains are numbered by their first items.
        place: (V,) int64, of each item among those of its domain.
        sizes: items of each domain.

    Args:
        item_domains: (V,) whole numbers from 0, the domain of each item; V > 0.
    """

    def __init__(self, item_domains: Tensor) -> None:
        codes, rows = item_domains.long(), torch.arange(len(item_domains), device=item_domains.device)
        first = rows.new_full((int(codes.max()) + 1,), len(rows)).scatter_reduce_(0, codes, rows, "amin")
        self.number = first.argsort(stable=True).argsort()[codes]
        counts = self.number.bincount(minlength=len(first))
        self.sizes: list[int] = counts.tolist()
        self._order = self.number.argsort(stable=True)
        # So numbered, nothing moves where the items of each domain stand together, as those of merged shops do.
        self._together = bool((self._order == rows).all())
        self.place = torch.empty_like(rows)
        self.place[self._order] = rows - (counts.cumsum(0) - counts).repeat_interleave(counts)

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """What each domain has of ``values`` (V, ...): views where the items of each domain stand together."""
        parts: tuple[Tensor, ...] = (values if self._together else values.index_select(0, self._order)).split(
            self.sizes
        )
        return parts

    def parts(self, catalog: Catalog) -> Sequence[Catalog]:
        """What each domain has of the item vectors."""
        if isinstance(catalog, Tensor):
            return self.split(catalog)
        return [Part(catalog, rows) for rows in self._order.split(self.sizes)]

    def mean(
        self,
        losses: Sequence[MeanLoss],
        hidden: Tensor,
        catalog: Catalog,
        targets: Tensor,
        among: Tensor | None = None,
    ) -> Tensor:
        """Mean over T events of the loss of each among the items of its target's domain.

        Args:
            losses: of each domain; they see its items alone, by their places in it.
            hidden: (T, d).
            catalog: of V items.
            targets: (T,) int64, rows of ``catalog``.
            among: (n,) targets of all processes that share the batch, likewise; None: ``targets``.

        Returns:
            () the mean, 0 for no events.
        """
        order, counts, places = self._by_domain(targets)
        drawn = places if among is None else self._by_domain(among)[2]
        states = hidden.index_select(0, order).split(counts)
        total = hidden.new_zeros(())
        for loss, items, part, place, others in zip(losses, self.parts(catalog), states, places, drawn, strict=True):
            if len(others):  # of all processes: so that all draw the same random numbers
                total = total + loss(part, items, place, among=others) * (len(part) / len(targets))
        return total

    def _by_domain(self, targets: Tensor) -> tuple[Tensor, list[int], tuple[Tensor, ...]]:
        """The order of ``targets`` (T,) by domain, how many each has, and their places in it."""
        numbers = self.number[targets]
        order = numbers.argsort(stable=True)
        counts: list[int] = numbers.bincount(minlength=len(self.sizes)).tolist()
        places: tuple[Tensor, ...] = self.place[targets[order]].split(counts)
        return order, counts, places

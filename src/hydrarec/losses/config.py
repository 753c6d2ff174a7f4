"""Which loss, and how its negatives are drawn."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from hydrarec.errors import InputError
from hydrarec.losses.catalog import Catalog, few, size, whole
from hydrarec.losses.domains import ByDomain
from hydrarec.losses.gbce import gbce
from hydrarec.losses.sampled import sampled_softmax
from hydrarec.losses.samplers import InBatch, Mixed, Popularity, Sampler, Uniform
from hydrarec.losses.softmax import full_softmax


class Loss(Protocol):
    """A mean loss.

    ``among``: targets of all processes that share a batch, which negatives may come from; None: there are no others.
    """

    def __call__(
        self, hidden: Tensor, catalog: Catalog, targets: Tensor, scale: float, among: Tensor | None = None
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Settings of the loss.

    Attributes:
        kind: ``softmax`` over the whole catalog, ``sampled`` softmax, or ``gbce``.
        negatives_from: where the data has domains, the items that a target is told from are those of its ``own``, or
            those of ``all``: the whole catalog.
        sampler: where the negatives of ``sampled`` and ``gbce`` come from: the catalog (``uniform``, ``popularity``),
            the targets of the batch (``in_batch``), or a share ``from_batch`` of them from the batch and the rest by
            ``popularity`` (``mixed``).
        negatives: how many are drawn for a batch and shared by its events; for its events of a domain, by these.
        log_q: correct for how the negatives were drawn.
        from_batch: that share.
        smoothing: exponent of the item counts of the ``popularity`` sampler; 0: every item alike.
        calibration: t of gBCE.
        precision: of the products of ``softmax``. ``bfloat16`` rounds their operands, sums in float32, and is about
            twice as fast on processors with matrix tiles (AMX); elsewhere it gains nothing.
        chunk_events: events whose logits are held at a time.
        chunk_items: items of the catalog of the same (``softmax``).
    """

    kind: Literal["softmax", "sampled", "gbce"] = "softmax"
    negatives_from: Literal["own", "all"] = "own"
    sampler: Literal["uniform", "popularity", "in_batch", "mixed"] = "uniform"
    negatives: int = 512
    log_q: bool = True
    from_batch: float = 0.5
    smoothing: float = 0.75
    calibration: float = 0.75
    precision: Literal["float32", "bfloat16"] = "float32"
    chunk_events: int = 512
    chunk_items: int = 65_536

    def __post_init__(self) -> None:
        for name in ("negatives", "chunk_events", "chunk_items"):
            if getattr(self, name) < 1:
                raise InputError(f"loss.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("from_batch", "smoothing", "calibration"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"loss.{name} is {getattr(self, name)}; it must lie between 0 and 1")


def make_loss(
    config: LossConfig,
    counts: Tensor,
    item_domains: Tensor | None = None,
    generator: torch.Generator | None = None,
    drawn: Tensor | None = None,
) -> Loss:
    """The loss of ``config`` as a function of (hidden (T, d), catalog of V items, targets (T,), scale).

    Args:
        counts: (V,) training events of each item.
        item_domains: (V,) the set of items that each is told from, as a whole number, on the same device; None: all.
        generator: of negatives; torch's global one when None.
        drawn: (V,) in proportion to which items are targets in batches; None: ``counts``.
    """
    drawn = counts if drawn is None else drawn
    if item_domains is None:
        sampler = make_sampler(config, counts, generator, drawn)

        def mean(
            hidden: Tensor, catalog: Catalog, targets: Tensor, scale: float, among: Tensor | None = None
        ) -> Tensor:
            return loss(config, hidden, catalog, targets, scale, sampler, among)

        return mean
    domains = ByDomain(item_domains)
    parts = zip(domains.split(counts), domains.split(drawn), strict=True)
    samplers = [make_sampler(config, part, generator, targets) for part, targets in parts]

    def by_domain(
        hidden: Tensor, catalog: Catalog, targets: Tensor, scale: float, among: Tensor | None = None
    ) -> Tensor:
        catalog = whole(catalog) if config.kind == "softmax" else catalog  # once for all domains
        losses = [partial(loss, config, scale=scale, sampler=sampler) for sampler in samplers]
        return domains.mean(losses, hidden, catalog, targets, among)

    return by_domain


def make_sampler(
    config: LossConfig, counts: Tensor, generator: torch.Generator | None = None, drawn: Tensor | None = None
) -> Sampler | None:
    """The sampler of ``config``, None for the full softmax. ``counts`` and ``drawn``: see ``make_loss``."""
    drawn = counts if drawn is None else drawn
    if config.kind == "softmax":
        return None
    if config.sampler == "uniform":
        return Uniform(len(counts), config.negatives, generator)
    share = {"popularity": 0.0, "in_batch": 1.0}.get(config.sampler, config.from_batch)
    of_batch = round(share * config.negatives)
    of_catalog = config.negatives - of_batch
    if not of_catalog:
        return InBatch(drawn, of_batch, generator)
    popularity = Popularity(counts, of_catalog, config.smoothing, generator)
    return Mixed(InBatch(drawn, of_batch, generator), popularity) if of_batch else popularity


def loss(
    config: LossConfig,
    hidden: Tensor,
    catalog: Catalog,
    targets: Tensor,
    scale: float = 1.0,
    sampler: Sampler | None = None,
    among: Tensor | None = None,
) -> Tensor:
    """Mean loss () of hidden states (T, d) against item vectors (V, d) at targets (T,).

    A loss that draws negatives reads the vectors of these and of the targets, and no others.

    Args:
        among: (n,) targets that negatives may be drawn from (``InBatch``); None: ``targets``.

    Raises:
        ValueError: the loss draws negatives and ``sampler`` is None.
    """
    if config.kind == "softmax":
        chunks, half = (config.chunk_events, config.chunk_items), config.precision == "bfloat16"
        return full_softmax(hidden, whole(catalog), targets, scale, *chunks, half)
    if sampler is None:
        raise ValueError(f"the loss {config.kind!r} needs a sampler; make_sampler gives it")
    negatives, log_expected = sampler.sample(targets if among is None else among)
    correction = log_expected if config.log_q else None
    vectors, targets, negatives = few(catalog, targets, negatives)
    if config.kind == "sampled":
        return sampled_softmax(hidden, vectors, targets, negatives, correction, scale, config.chunk_events)
    return gbce(
        hidden,
        vectors,
        targets,
        negatives,
        correction,
        scale,
        config.calibration,
        config.chunk_events,
        n_items=size(catalog),
    )

"""The place of the target among the candidates, from scores that come in chunks of the catalog."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from hydrarec.errors import HydrarecError

MISSED = 2**31 - 1
"""``greater`` of a target that is no candidate: below every place, so a miss at any k and in MRR."""

_BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where B targets stand.

    Attributes:
        greater: (B,) int64, candidates scored strictly above the target; ``MISSED`` where the target is none.
        ties: (B,) int64, other candidates with the target's score.
        top: (B, k) int64, the best k candidates in order, -1 where there are fewer.
    """

    greater: Tensor
    ties: Tensor
    top: Tensor


def rank(
    scores: Iterable[tuple[int, Tensor]],
    targets: Tensor,
    *,
    seen: tuple[Tensor, Tensor] | None = None,
    candidates: Tensor | None = None,
    domains: Tensor | None = None,
    top: int = 0,
) -> Ranks:
    """Rank one target per query.

    Args:
        scores: ``Model.score(batch)``: (first item row, (B, n)) chunks that cover the catalog in order. All
            are held until the target's own score is known: B times the catalog must fit in memory.
        targets: (B,) int64 item rows.
        seen: (query row, item row) int64 pairs to leave out of the candidates; the target itself stays in.
        candidates: (n_items,) bool; a target outside is missed.
        domains: (n_items,) code of each item's domain; only items of the target's are candidates. None: all are.
        top: how many of the best candidates to keep.

    Raises:
        HydrarecError: a score is NaN.
    """
    chunks = list(scores)
    step = max(1, _BLOCK // sum(chunk.shape[1] for _, chunk in chunks))
    blocks = [slice(start, start + step) for start in range(0, len(targets), step)]
    parts = [
        _rank(
            [(first, chunk[block]) for first, chunk in chunks],
            targets[block],
            _rows(seen, block),
            candidates,
            domains,
            top,
        )
        for block in blocks
    ]
    greater, ties, best = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return Ranks(greater=greater, ties=ties, top=best)


def _rows(seen: tuple[Tensor, Tensor] | None, block: slice) -> tuple[Tensor, Tensor] | None:
    if seen is None:
        return None
    here = (seen[0] >= block.start) & (seen[0] < block.stop)
    return seen[0][here] - block.start, seen[1][here]


def _rank(
    chunks: list[tuple[int, Tensor]],
    targets: Tensor,
    seen: tuple[Tensor, Tensor] | None,
    candidates: Tensor | None,
    domains: Tensor | None,
    top: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Greater, ties and top of a block of queries, small enough that what is made of its scores stays in cache."""
    device = chunks[0][1].device
    targets = targets.to(device)
    own = _scores_of(chunks, targets)
    greater, ties = torch.zeros_like(targets), torch.zeros_like(targets)
    best = torch.full((len(targets), top), -torch.inf, device=device)
    best_items = torch.full((len(targets), top), -1, dtype=torch.int64, device=device)
    for first, chunk in chunks:
        allowed = _allowed(first, chunk, targets, seen, candidates, domains)
        above, equal = chunk > own[:, None], chunk == own[:, None]
        equal[_inside(first, chunk, targets)] = False
        greater += (above & allowed).sum(1, dtype=torch.int32)  # twice as fast as sums in int64
        ties += (equal & allowed).sum(1, dtype=torch.int32)
        if top:
            visible = chunk.float().masked_fill(~allowed, -torch.inf)
            best, best_items = _merge(best, best_items, first, visible)
    if candidates is not None:
        outside = ~candidates.to(device)[targets]
        greater, ties = greater.masked_fill(outside, MISSED), ties.masked_fill(outside, 0)
    return greater, ties, best_items


def _inside(first: int, chunk: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the queries whose target lies in the chunk, and its column there."""
    rows = ((targets >= first) & (targets < first + chunk.shape[1])).nonzero()[:, 0]
    return rows, targets[rows] - first


def _scores_of(chunks: list[tuple[int, Tensor]], targets: Tensor) -> Tensor:
    own = torch.empty(len(targets), device=targets.device, dtype=chunks[0][1].dtype)
    for first, chunk in chunks:
        if torch.isnan(chunk.amax()):  # the largest is NaN if any is
            raise HydrarecError("the model gave a score that is not a number; it cannot be ranked")
        rows, columns = _inside(first, chunk, targets)
        own[rows] = chunk[rows, columns]
    return own


def _allowed(
    first: int,
    chunk: Tensor,
    targets: Tensor,
    seen: tuple[Tensor, Tensor] | None,
    candidates: Tensor | None,
    domains: Tensor | None,
) -> Tensor:
    """(B, n) bool, the candidates of each query in this chunk."""
    allowed = torch.ones_like(chunk, dtype=torch.bool)
    if seen is not None:
        queries, items = seen[0].to(chunk.device), seen[1].to(chunk.device)
        here = (items >= first) & (items < first + chunk.shape[1])
        allowed[queries[here], items[here] - first] = False
        allowed[_inside(first, chunk, targets)] = True
    if candidates is not None:
        allowed &= candidates[first : first + chunk.shape[1]].to(chunk.device)
    if domains is not None:
        codes = domains.to(chunk.device)
        allowed &= codes[first : first + chunk.shape[1]] == codes[targets][:, None]
    return allowed


def _merge(best: Tensor, items: Tensor, first: int, chunk: Tensor) -> tuple[Tensor, Tensor]:
    """The best k of those found so far and a further chunk."""
    found, columns = chunk.topk(min(best.shape[1], chunk.shape[1]), dim=1)
    columns = torch.where(found == -torch.inf, -1, columns + first)
    merged, order = torch.cat([best, found], 1).topk(best.shape[1], dim=1)
    return merged, torch.cat([items, columns], 1).gather(1, order)

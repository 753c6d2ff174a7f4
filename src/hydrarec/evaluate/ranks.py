"""The place of the target among the candidates, from scores that come in chunks of the catalog."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hydrarec import processes
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


Scores = Iterable[tuple[int, Tensor]]


def rank(
    scores: Scores | Callable[[], Scores],
    targets: Tensor,
    *,
    seen: tuple[Tensor, Tensor] | None = None,
    candidates: Tensor | None = None,
    domains: Tensor | None = None,
    top: int = 0,
    sharded: bool = False,
) -> Ranks:
    """Rank one target per query.

    Args:
        scores: ``Model.score(batch)``: (first item row, (B, n)) chunks that cover the catalog in order. They are looked
            at twice, first for the target's own score: all are held, unless a function gives them anew each time.
        targets: (B,) int64 item rows.
        seen: (query row, item row) int64 pairs to leave out of the candidates; the target itself stays in.
        candidates: (n_items,) bool; a target outside is missed.
        domains: (n_items,) code of each item's domain; only items of the target's are candidates. None: all are.
        top: how many of the best candidates to keep.
        sharded: ``scores`` are of the items that this process has; all processes rank the same targets together.

    Raises:
        HydrarecError: a score is NaN.
    """
    again = scores if callable(scores) else list(scores)
    own = _own_scores(again() if callable(again) else again, targets)
    if sharded:
        processes.total(own)
    targets = targets.to(own.device)
    greater, ties = torch.zeros_like(targets), torch.zeros_like(targets)
    best = torch.full((len(targets), top), -torch.inf, device=own.device)
    items = torch.full((len(targets), top), -1, dtype=torch.int64, device=own.device)
    ranges = _ranges(domains, targets)
    for start, whole in again() if callable(again) else again:
        for rows, first, part in _parts(start, whole, ranges):
            target = targets[rows]
            allowed = _allowed(first, part, target, _pairs(seen, rows, len(targets)), candidates, domains)
            above, equal = part > own[rows, None], part == own[rows, None]
            equal[_inside(first, part, target)] = False
            greater[rows] += (above & allowed).sum(1, dtype=torch.int32)  # twice as fast as sums in int64
            ties[rows] += (equal & allowed).sum(1, dtype=torch.int32)
            if top:
                visible = part.float().masked_fill(~allowed, -torch.inf)
                best[rows], items[rows] = _merge(best[rows], items[rows], first, visible)
    if sharded:
        greater, ties = processes.total(greater), processes.total(ties)
        if top:
            best, order = processes.beside(best).topk(top, dim=1)
            items = processes.beside(items).gather(1, order)
    if candidates is not None:
        outside = ~candidates.to(own.device)[targets]
        greater, ties = greater.masked_fill(outside, MISSED), ties.masked_fill(outside, 0)
    return Ranks(greater=greater.cpu(), ties=ties.cpu(), top=items.cpu())


Range = tuple[Tensor, int, int]  # queries, and the items from here to there among which all their candidates are


def _ranges(domains: Tensor | None, targets: Tensor) -> list[Range]:
    """Queries by the domain of their target; all of them together where domains do not each stand in one piece."""
    every = torch.arange(len(targets), device=targets.device)
    found = None if domains is None else spans(domains)
    if domains is None or found is None:
        return [(every, 0, 2**62)]
    of = domains.to(targets.device)[targets].long()
    return [(every[of == code], *found[code].tolist()) for code in of.unique().tolist()]


def spans(domains: Tensor) -> Tensor | None:
    """(D, 2) first row and end of each domain's items, from their codes (V,); None where they do not stand together."""
    codes, sizes = torch.unique_consecutive(domains, return_counts=True)
    if len(codes) == 0 or len(codes) > len(codes.unique()):
        return None
    ends = sizes.cumsum(0)
    found = torch.zeros(int(codes.max()) + 1, 2, dtype=torch.int64)
    found[codes.long()] = torch.stack([ends - sizes, ends], 1)
    return found


def _parts(first: int, chunk: Tensor, ranges: list[Range]) -> Iterator[tuple[Tensor, int, Tensor]]:
    """(queries (b,), first item row, their scores (b, n)): so few that what is made of them stays in cache."""
    for queries, low, high in ranges:
        low, high = max(low, first), min(high, first + chunk.shape[1])
        if low >= high:
            continue
        part = chunk[:, low - first : high - first]
        for rows in queries.split(max(1, _BLOCK // (high - low))):
            if len(rows):
                yield rows, low, part[rows]


def _pairs(seen: tuple[Tensor, Tensor] | None, rows: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    """Those pairs of ``seen`` that are of these queries (b,) out of ``count``, which are numbered by their places."""
    if seen is None:
        return None
    place = torch.full((count,), -1)
    place[rows.cpu()] = torch.arange(len(rows))
    query = place[seen[0].cpu()]
    return query[query >= 0], seen[1].cpu()[query >= 0]


def _inside(first: int, chunk: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the queries whose target lies in the chunk, and its column there."""
    rows = ((targets >= first) & (targets < first + chunk.shape[1])).nonzero()[:, 0]
    return rows, targets[rows] - first


def _own_scores(chunks: Scores, targets: Tensor) -> Tensor:
    own = torch.zeros(len(targets))
    for first, chunk in chunks:
        own = own.to(chunk)
        if torch.isnan(chunk.amax()):  # the largest is NaN if any is
            raise HydrarecError("the model gave a score that is not a number; it cannot be ranked")
        rows, columns = _inside(first, chunk, targets.to(chunk.device))
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

"""Packed histories cut into tiles that stay in the processor's cache while every step of a layer passes over them.

A tile is a rectangle of n chunks of Q rows. Each history in it begins with ``margin`` empty rows, so that a convolution
is a shift of all rows without a mask; then its events; then padding up to the end of a chunk. A history longer than a
tile goes on in the next one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

_SIZES = range(4, 64)


@dataclass(frozen=True)
class Grid:
    """Where the events of V histories (or pieces) lie among the R = n * size rows of a tile.

    Attributes:
        size: Q, rows of a chunk.
        n: chunks.
        place: (t,) row of each event.
        early, early_row: each history's first ``margin`` events, as places among V * margin and as rows.
        after: (V * margin,) each history's last rows.
        short_to, short_from: places among V * margin where, in a history of fewer events than ``margin``, what came
            before it lies after it and before it.
        filled: (R, 1), 1 where there is an event, else 0.
        chunk: (n,) each chunk's end on the axis of n + V points: each history's beginning and the ends of its chunks.
        close: (n,) one past the last point of each chunk's history.
        to: (n + V,) points at which a state is wanted: before each chunk, then after each history.
        since: (n + V,) points from which states come: after each chunk, then before each history.
        reach: (n + V, n + V) float64, 0 where the second reaches the first, else -inf.
    """

    size: int
    n: int
    place: Tensor
    early: Tensor
    early_row: Tensor
    after: Tensor
    short_to: Tensor
    short_from: Tensor
    filled: Tensor
    chunk: Tensor
    close: Tensor
    to: Tensor
    since: Tensor
    reach: Tensor


@dataclass(frozen=True)
class Tile:
    """Its packed events, its histories, and where they lie in it."""

    events: slice
    users: slice
    grid: Grid


def tiles(offsets: Tensor, margin: int, rows: int, dtype: torch.dtype) -> list[Tile]:
    """Tiles of about ``rows`` rows for the histories bounded by ``offsets`` (U+1,), in the order of the events."""
    lengths = offsets.diff()
    size = chunk_size(lengths, margin)
    cut = list(_cut(lengths.tolist(), size, margin, max(rows // size, -(-(margin + 1) // size))))
    starts = accumulate((sum(pieces) for _, pieces in cut), initial=0)
    made = []
    for start, (user, pieces) in zip(starts, cut, strict=False):
        events, users = slice(start, start + sum(pieces)), slice(user, user + len(pieces))
        if any(pieces):
            made.append(Tile(events, users, _grid(tuple(pieces), size, margin, dtype)))
    return made


def chunk_size(lengths: Tensor, margin: int) -> int:
    """The size of chunks that is fastest for histories of these lengths (U,).

    Long chunks pad short histories and cost products of Q x Q; short ones cost a state each, and products between them.
    The constants are in nanoseconds a row, fitted to one layer on a CPU.
    """
    sizes = torch.tensor([*_SIZES])
    rows = ((lengths.unsqueeze(1) + margin + sizes - 1) // sizes * sizes).sum(0)
    return _SIZES[int((rows * (3900 + 64 * sizes + 57000 / sizes)).argmin())]


def _cut(lengths: list[int], size: int, margin: int, most: int) -> Iterator[tuple[int, list[int]]]:
    """The first history of each tile of at most ``most`` chunks, and how many events of each it takes."""
    first, pieces, used = 0, list[int](), 0
    for user, length in enumerate(lengths):
        left = length
        while True:
            needed = -(-(margin + left) // size)
            if used + needed <= most:
                pieces.append(left)
                used += needed
                break
            if needed > most and (most - used) * size > margin:  # no tile takes it whole: this one is filled up
                pieces.append((most - used) * size - margin)
                left -= pieces[-1]
            yield first, pieces
            first, pieces, used = user, [], 0
    if pieces:
        yield first, pieces


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, training may ask next
def _grid(lengths: tuple[int, ...], size: int, margin: int, dtype: torch.dtype) -> Grid:
    length, ones = torch.tensor(lengths), torch.arange(len(lengths))
    count = (length + margin + size - 1) // size  # chunks of each history
    n = int(count.sum())
    user = ones.repeat_interleave(count)
    opening = count.cumsum(0) - count  # first chunk of each history
    begin = opening * size + margin  # row of its first event
    T = int(length.sum())
    place = torch.arange(T) + (begin - length.cumsum(0) + length).repeat_interleave(length)
    steps = torch.arange(margin)
    places = torch.arange(margin * len(lengths)).view(len(lengths), margin)
    early, stays = steps < length.unsqueeze(1), steps + length.unsqueeze(1) < margin
    chunk = torch.arange(n)
    to = torch.cat([chunk + user, opening + count + ones])
    since = torch.cat([chunk + user + 1, opening + ones])
    owner = torch.cat([user, ones])
    reaches = (owner.unsqueeze(1) == owner) & (to.unsqueeze(1) >= since)
    return Grid(
        size=size,
        n=n,
        place=place,
        early=places[early],
        early_row=(begin.unsqueeze(1) + steps)[early],
        after=((begin + length - margin).unsqueeze(1) + steps).flatten(),
        short_to=places[stays],
        short_from=(places + length.unsqueeze(1))[stays],
        filled=torch.zeros(n * size, 1, dtype=dtype).index_fill_(0, place, 1),
        chunk=chunk + user + 1,
        close=(opening + count + ones + 1)[user],
        to=to,
        since=since,
        reach=torch.zeros(n + len(lengths), n + len(lengths), dtype=torch.float64).masked_fill_(~reaches, -torch.inf),
    )

"""Packed histories as rectangles and back, for encoders that read rectangles.

The histories of a batch are grouped by length, so that little of a rectangle is padding, and few enough groups are made
that each keeps a processor busy.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WASTE = 256  # events of padding that cost about as much as one group more


def groups(lengths: Sequence[int], waste: int = WASTE) -> list[list[int]]:
    """Histories with events, longest first, cut where a group's padding would cost more than another group does.

    Args:
        lengths: events of each history.
        waste: most events of padding in a group.
    """
    made: list[list[int]] = []
    longest = padding = 0
    for history in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[history]
        if not length:
            break
        padding += longest - length
        if not made or padding > waste:
            made.append([])
            longest, padding = length, 0
        made[-1].append(history)
    return made


def in_rectangles(encoder: Callable[..., Tensor], offsets: Tensor, *columns: Tensor, waste: int = WASTE) -> Tensor:
    """Run an encoder of rectangles on packed histories.

    Args:
        encoder: causal; from a rectangle of each column, (B, L, ...), padded on the right with copies of the last
            event, to (B, L, d).
        offsets: (B+1,) int64 of the histories.
        columns: each (T, ...), what the encoder reads of an event.
        waste: see ``groups``.

    Returns:
        (T, d): what the encoder gives for each history alone.
    """
    lengths = offsets.diff()
    outputs, places = [], []
    for chosen in groups(lengths.tolist(), waste):
        rows = torch.tensor(chosen, device=offsets.device)
        column = torch.arange(int(lengths[chosen[0]]), device=offsets.device)
        inside = column < lengths[rows, None]  # (B, L)
        place = offsets[rows, None] + torch.minimum(column, lengths[rows, None] - 1)  # (B, L)
        rectangles = (each.index_select(0, place.flatten()).unflatten(0, place.shape) for each in columns)
        outputs.append(encoder(*rectangles).flatten(0, 1)[inside.flatten()])
        places.append(place[inside])
    if not outputs:
        return columns[0]  # no event at all
    return torch.cat(outputs).index_select(0, torch.cat(places).argsort())

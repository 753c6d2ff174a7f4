"""The packed batch: histories of different length laid end to end, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hydrarec.errors import InputError

REQUEST_TIMES = "request_times"  # the column of that name


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B histories of T events in all.

    Attributes:
        items: (T,) int64, item rows.
        times: (T,) int64, seconds; zeros where the events have no time.
        offsets: (B+1,) int64; history b is ``items[offsets[b]:offsets[b+1]]``.
        columns: further per-event columns by name, each (T, ...). ``request_times`` (T,) int64 seconds is when the
            hidden state of an event is asked: at the time of the event after it, or of the request.
    """

    items: Tensor
    times: Tensor
    offsets: Tensor
    columns: dict[str, Tensor] = field(default_factory=dict)

    @property
    def n_users(self) -> int:
        return self.offsets.numel() - 1

    @property
    def lengths(self) -> Tensor:
        """(B,) int64, events of each history."""
        return self.offsets.diff()

    @property
    def last(self) -> Tensor:
        """(B,) int64, position of each history's last event. Histories must not be empty."""
        return self.offsets[1:] - 1

    @property
    def request_times(self) -> Tensor:
        """(T,) int64, when the hidden state of each event is asked.

        Raises:
            InputError: the batch was made without.
        """
        if REQUEST_TIMES not in self.columns:
            raise InputError("this model answers for a moment: give the times of the events and of the request")
        return self.columns[REQUEST_TIMES]

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            items=self.items.to(device),
            times=self.times.to(device),
            offsets=self.offsets.to(device),
            columns={name: column.to(device) for name, column in self.columns.items()},
        )


def pack(items: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> Batch:
    """Lay histories end to end. Each array is one history, oldest event first."""
    lengths = [len(history) for history in items]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    flat = np.concatenate([*items, np.empty(0, np.int64)]).astype(np.int64)
    when = (
        np.zeros(len(flat), np.int64)
        if times is None
        else np.concatenate([*times, np.empty(0, np.int64)]).astype(np.int64)
    )
    return Batch(items=torch.from_numpy(flat), times=torch.from_numpy(when), offsets=torch.from_numpy(offsets))

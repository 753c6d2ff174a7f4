"""Batches that walk through histories in order, for training that carries the state from window to window."""

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.windows import EpochBatches


class CarriedBatches(EpochBatches):
    """The batches of one epoch for windows cut as ``carried``.

    From the batch in which a history begins to the one in which it ends, each batch has its next window; then other
    histories take its place. Which one begins when is decided by ``seed`` and ``epoch`` alone.
    """

    def _order(self, batch_events: int, random: np.random.Generator) -> list[np.ndarray]:
        first, end, inputs = self._windows.first, self._windows.end, self._windows.inputs
        goes_on = first[1:] == end[:-1] - 1  # exactly then a window takes up where the one before it ended
        begins = np.flatnonzero(np.append(True, ~goes_on)[: len(first)])
        counts = np.diff(np.append(begins, len(first)))  # windows of each history
        total = int(inputs.sum())
        batches = max(int(counts.max(initial=1)), -(-total // batch_events))
        # Long histories begin early enough to end with the others. Where one of them takes more batches than all would
        # fill, batches are smaller, so that others are with it to the end.
        waiting = np.argsort(random.random(len(begins)) * (batches - counts), kind="stable")
        size = -(-total // batches)
        upto = np.append(0, np.cumsum(inputs[begins[waiting]]))  # inputs of first windows
        plan: list[np.ndarray] = []
        self._before: list[np.ndarray] = []
        now, final, begun = np.empty(0, np.int64), np.empty(0, np.int64), 0  # windows of a batch, of their histories
        while begun < len(waiting) or (now < final).any():
            rows = np.flatnonzero(now < final)
            room = size - int(inputs[now[rows] + 1].sum())
            fitting = int(np.searchsorted(upto, upto[begun] + room, side="right")) - 1
            stop = max(fitting, begun if len(rows) else begun + 1)
            fresh = waiting[begun:stop]
            now = np.append(now[rows] + 1, begins[fresh])
            final = np.append(final[rows], begins[fresh] + counts[fresh] - 1)
            plan.append(now)
            self._before.append(np.append(rows, np.full(len(fresh), -1)))
            begun = stop
        return plan

    def before(self, index: int) -> Tensor:
        """(B,) int64: for each history of batch ``index`` its row in the batch before, -1 where it begins."""
        return torch.from_numpy(self._before[index])

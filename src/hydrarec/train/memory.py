"""The states that training windows begin from, as the windows before them left them."""

import numpy as np
import torch

from hydrarec.data.windows import Windows
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState


class Memory:
    """A state for every window that goes on from another one of its history.

    Windows are trained in any order, so that a batch is a fair sample of all users; walking through histories side by
    side instead, consecutive batches would hold the same few users. A window begins from what the window before it
    left when it was last trained, an epoch ago on average: with other weights, which the replay of stored states in
    reinforcement learning tolerates too (Kapturowski et al. 2019, R2D2). Until then, as if the history began there.

    Attributes:
        states: of the S windows that go on, in their order.
    """

    def __init__(self, model: RecurrentModel, source: Windows, states: EncoderState | None = None) -> None:
        """``states``: those of a memory of the same windows, to go on with."""
        goes_on = np.append(False, source.first[1:] == source.end[:-1] - 1)[: len(source.first)]
        slots = np.where(goes_on, np.cumsum(goes_on) - 1, -1)
        self._model = model
        self._own = torch.from_numpy(slots)
        self._following = torch.from_numpy(np.append(slots[1:], -1))
        self.states = model.initial_state(int(goes_on.sum())).clone() if states is None else states

    def before(self, chosen: np.ndarray) -> EncoderState:
        """What the windows of these numbers (B,) begin from."""
        begin = self._model.initial_state(len(chosen)).clone()
        rows, slots = _some(self._own[chosen])
        remembered = self.states.select(slots).tensors()
        for name, value in begin.tensors().items():
            value[rows] = remembered[name]
        return begin

    def keep(self, chosen: np.ndarray, after: EncoderState) -> None:
        """Remember the state (B,) after these windows, for those that follow them."""
        rows, slots = _some(self._following[chosen])
        left = after.detach().select(rows).tensors()
        for name, value in self.states.tensors().items():
            value[slots] = left[name]


def _some(slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the batch with a slot, and their slots."""
    rows = (slots >= 0).nonzero()[:, 0]
    return rows, slots[rows]

"""What recurrent models share: their past is a state, so that they go on from it and read any length."""

from abc import abstractmethod

import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.models.neural import NeuralModel
from hydrarec.nn.segments import in_segments, recomputed
from hydrarec.nn.state import EncoderState


class RecurrentModel(NeuralModel):
    """A neural model whose ``encode`` can be cut anywhere: a history whole or in pieces gives the same."""

    read_events = 4096  # of a history read at once; more events take more memory and no less time

    @abstractmethod
    def initial_state(self, n_users: int) -> EncoderState:
        """The state before the first event."""

    @abstractmethod
    def resume(self, batch: Batch, state: EncoderState | None) -> tuple[Tensor, EncoderState]:
        """As ``encode``, going on from ``state`` of the batch's B users (None: before the first event).

        Returns:
            hidden states (T, d), and the state after each history's last event.
        """

    @abstractmethod
    def step_(self, batch: Batch, state: EncoderState) -> Tensor:
        """One event of each of U users, without gradient: the state is updated where it lies.

        Returns:
            (U, d) the new hidden states.
        """

    def encode(self, batch: Batch) -> Tensor:
        return self.resume(batch, None)[0]

    def read(self, batch: Batch, state: EncoderState | None = None) -> tuple[Tensor, EncoderState]:
        """As ``resume``, for requests: besides the result, memory for a piece of each history and not for all of it."""
        if state is not None and not torch.is_grad_enabled() and bool((batch.lengths == 1).all()):
            state = state.clone()
            return self.step_(batch, state), state
        return self._resume_in(self.read_events, batch, state, recompute=False)

    def resume_recomputing(self, batch: Batch, state: EncoderState | None, size: int) -> tuple[Tensor, EncoderState]:
        """As ``resume``, for training: activations are held of ``size`` events of each history at a time.

        Loss and gradients are those of ``resume``, for the time of one more forward. A batch without a longer history
        is encoded at once.
        """
        return self._resume_in(size, batch, state, recompute=True)

    def hidden_at(self, batch: Batch, places: Tensor) -> Tensor:
        return self.read(batch)[0][places]

    def _resume_in(
        self, size: int, batch: Batch, state: EncoderState | None, *, recompute: bool
    ) -> tuple[Tensor, EncoderState]:
        if not batch.n_users or int(batch.lengths.max()) <= size:
            return self.resume(batch, state)
        state = self.initial_state(batch.n_users) if state is None else state
        return in_segments(recomputed(self.resume) if recompute else self.resume, batch, state, size)

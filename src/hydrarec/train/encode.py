"""How a training step encodes its batch: plainly, with recomputation, going on from the batch before."""

from collections.abc import Callable

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.errors import InputError
from hydrarec.models.neural import NeuralModel
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState, join
from hydrarec.train.config import TrainConfig

Encode = Callable[[Batch, EncoderState | None, Tensor | None], tuple[Tensor, EncoderState | None]]


def encoder(model: NeuralModel, config: TrainConfig) -> Encode:
    """A function (batch, state after the batch before, rows in that one) -> (hidden states (T, d), state to carry on).

    The rows (B,) are those of ``CarriedBatches.before``; None: nothing is carried, and the state is None.

    Raises:
        InputError: the settings ask for what only a recurrent model can do.
    """
    if not isinstance(model, RecurrentModel):
        if config.recompute or config.windows == "carried":
            setting = "recompute" if config.recompute else "windows=carried"
            raise InputError(f"train.{setting} needs a recurrent model, and {model.name} is none; leave it out")
        return lambda batch, state, before: (model.encode(batch), None)

    def encode(batch: Batch, state: EncoderState | None, before: Tensor | None) -> tuple[Tensor, EncoderState | None]:
        start = None if before is None else _go_on(model, state, before)
        if config.recompute:
            hidden, state = model.resume_recomputing(batch, start, config.recompute)
        else:
            hidden, state = model.resume(batch, start)
        return hidden, None if before is None else state.detach()

    return encode


def _go_on(model: RecurrentModel, state: EncoderState | None, before: Tensor) -> EncoderState:
    """State of the histories of a batch: from these rows of ``state``, or at row -1 from the beginning."""
    beginning = model.initial_state(1)
    states = [beginning] if state is None else [state, beginning]
    return join(states).select(before.to(beginning.position.device))

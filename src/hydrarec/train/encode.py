"""How a training step encodes its batch: plainly, with recomputation, going on from a state."""

from collections.abc import Callable

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.errors import InputError
from hydrarec.models.neural import NeuralModel
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState
from hydrarec.train.config import TrainConfig

Encode = Callable[[Batch, EncoderState | None], tuple[Tensor, EncoderState | None]]


def encoder(model: NeuralModel, config: TrainConfig) -> Encode:
    """A function (batch, state of its users before it or None) -> (hidden states (T, d), state after it or None).

    Raises:
        InputError: the settings ask for what only a recurrent model can do.
    """
    if not isinstance(model, RecurrentModel):
        if config.recompute or config.windows == "carried":
            setting = "recompute" if config.recompute else "windows=carried"
            raise InputError(f"train.{setting} needs a recurrent model, and {model.name} is none; leave it out")
        return lambda batch, state: (model.encode(batch), None)
    if config.recompute:
        return lambda batch, state: model.resume_recomputing(batch, state, config.recompute)
    return model.resume

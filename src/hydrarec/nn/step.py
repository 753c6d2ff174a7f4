"""The encoder one event at a time: packed weights for the kernel, or the layers themselves."""

from collections.abc import Iterable
from dataclasses import astuple
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.layer import HydraLayer
from hydrarec.nn.state import EncoderState
from hydrarec.nn.time import Gaps
from hydrarec.nn.time_heads import TimeHeads
from hydrarec.ops import kernels
from hydrarec.ops.step import HEADS_MOST, StepSizes, pack, run_step

if TYPE_CHECKING:
    from hydrarec.nn.encoder import HydraEncoder


_NONE = torch.empty(0)


class Stepper:
    """Runs single events of many users through an encoder, whose weights it follows when they change."""

    def __init__(self, encoder: "HydraEncoder") -> None:
        self.encoder, self.parameters = encoder, list(encoder.parameters())
        self.sizes = list(map(int, astuple(_sizes(encoder))))
        self.scale = cast(HydraLayer, encoder.layers[0]).heads.scale
        self._packed = torch.empty(0)
        self._versions: list[int] = []

    def __call__(self, x: Tensor, state: EncoderState, gaps: Gaps | None = None) -> Tensor:
        """Args:
        gaps: around the events, needed by time heads.
        """
        versions = [parameter._version for parameter in self.parameters]
        if versions != self._versions:
            self._packed, self._versions = pack(self.sizes, _weights(self.encoder)), versions
        x = x.float().contiguous()
        since, until = (_NONE, _NONE) if gaps is None else (gaps.since.float(), gaps.until.float())
        before = (state.position, state.conv, state.ssm, state.timed, state.hidden)
        run_step((self._packed, x, since, until, *before), self.sizes, self.scale)
        return state.hidden


def fits(config: EncoderConfig, weight: Tensor) -> bool:
    """Whether the kernel can run single events of such an encoder."""
    takes = config.d_conv <= 4 and config.n_heads <= HEADS_MOST
    return takes and kernels() is not None and weight.device.type == "cpu" and weight.dtype == torch.float32


def step_by_layers(encoder: "HydraEncoder", x: Tensor, state: EncoderState, batch: Batch | None = None) -> Tensor:
    """As ``Stepper``, through the encoder's layers."""
    if batch is None:
        zeros = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        batch = Batch(items=zeros, times=zeros, offsets=torch.arange(len(x) + 1, device=x.device))
    _, after = encoder(x, batch, state)
    for old, new in zip(state.tensors().values(), after.tensors().values(), strict=True):
        old.copy_(new)
    return state.hidden


def _sizes(encoder: "HydraEncoder") -> StepSizes:
    config = encoder.config
    return StepSizes(
        d_model=config.d_model,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        latent=config.latent,
        inner=config.inner,
        d_state=config.d_state,
        d_conv=config.d_conv,
        ffn=round(config.ffn * config.d_model),
        output=config.output_projection,
        time_heads=config.time_heads if encoder.time_heads else 0,
        time_width=config.time_width,
    )


def _weights(encoder: "HydraEncoder") -> list[Tensor | None]:
    """In the order of ``hydrarec.ops.step.pack``."""
    weights: list[Tensor | None] = [encoder.norm.weight]
    for number, module in enumerate(encoder.layers):
        layer = cast(HydraLayer, module)
        heads = layer.heads
        weights += [layer.norm.weight, layer.w_xz.weight, heads.in_proj, heads.out_proj]
        weights += [heads.conv_weight, heads.conv_bias, heads.skip, heads.norm, -heads.A_log.exp(), heads.dt_bias]
        weights += [layer.w_o.weight]
        ffn = layer.ffn
        weights += [None] * 3 if ffn is None else [layer.ffn_norm.weight, ffn.gate_up.weight, ffn.down.weight]
        weights += _time_weights(encoder.time_heads[number]) if encoder.time_heads else [None] * 4
    if isinstance(encoder.output, nn.Sequential):
        weights += [module.weight for module in cast(Iterable[nn.Linear], encoder.output)]
    return weights


def _time_weights(module: nn.Module) -> list[Tensor]:
    heads = cast(TimeHeads, module)
    return [heads.norm.weight, heads.w_vz.weight, heads.w_o.weight, heads.log_scale.exp()]

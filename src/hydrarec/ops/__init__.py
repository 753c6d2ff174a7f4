"""Pure tensor functions over packed histories: no files, no trainers, no processes."""

from hydrarec.ops.conv import causal_conv, causal_conv_silu
from hydrarec.ops.elementwise import dropout, dropout_add, rms_norm, silu_mul
from hydrarec.ops.library import kernels
from hydrarec.ops.mixer import ROPE, mixer, mixer_fits
from hydrarec.ops.scan import backends, selective_scan

__all__ = [
    "ROPE",
    "backends",
    "causal_conv",
    "causal_conv_silu",
    "dropout",
    "dropout_add",
    "kernels",
    "mixer",
    "mixer_fits",
    "rms_norm",
    "selective_scan",
    "silu_mul",
]

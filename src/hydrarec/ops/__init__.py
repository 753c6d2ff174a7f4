"""Pure tensor functions over packed histories: no files, no trainers, no processes."""

from hydrarec.ops.conv import causal_conv, causal_conv_silu
from hydrarec.ops.elementwise import draw_seed, dropout, dropout_add, gated_rms_norm, interact, rms_norm, silu_mul
from hydrarec.ops.feed_forward import feed_forward, feed_forward_fits
from hydrarec.ops.library import kernels
from hydrarec.ops.mixer import mixer, mixer_fits
from hydrarec.ops.plain.mixer import plain_mixer, plain_mixer_fits
from hydrarec.ops.projection import linear_residual, norm_linear, projection_fits
from hydrarec.ops.scan import backends, selective_scan
from hydrarec.ops.softmax import softmax_cross_entropy, softmax_fits

__all__ = [
    "backends",
    "causal_conv",
    "causal_conv_silu",
    "draw_seed",
    "dropout",
    "dropout_add",
    "feed_forward",
    "feed_forward_fits",
    "gated_rms_norm",
    "interact",
    "kernels",
    "linear_residual",
    "mixer",
    "mixer_fits",
    "norm_linear",
    "plain_mixer",
    "plain_mixer_fits",
    "projection_fits",
    "rms_norm",
    "selective_scan",
    "silu_mul",
    "softmax_cross_entropy",
    "softmax_fits",
]

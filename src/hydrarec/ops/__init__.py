"""Pure tensor functions over packed histories: no files, no trainers, no processes."""

from hydrarec.ops.conv import causal_conv
from hydrarec.ops.scan import backends, selective_scan

__all__ = ["backends", "causal_conv", "selective_scan"]

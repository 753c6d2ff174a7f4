"""Numbers that look random, of whole numbers."""

from torch import Tensor


def mix(keys: Tensor) -> Tensor:
    """(...) int64 from 0 -> (...) int64 from 0: MurmurHash3's finaliser, without the sign."""
    for factor in (-0xAE502812AA7333, -0x3B314601E57A13AD):  # 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53 as int64
        keys = (keys ^ ((keys >> 33) & 0x7FFFFFFF)) * factor
    return (keys ^ ((keys >> 33) & 0x7FFFFFFF)) & 0x7FFFFFFFFFFFFFFF

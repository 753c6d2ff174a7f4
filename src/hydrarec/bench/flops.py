"""Floating-point operations of the Mamba-2 scan, counted by hand; a fused multiply-add is two."""


def scan_forward_flops(heads: int, inner: int, d_state: int) -> int:
    """Of one event: in each cell two fused multiply-adds, h = decay h + (dt x) B and y += h C.

    There are ``heads`` times E times N cells. What is done once a channel or a state (decays, dt x) is not counted.
    """
    return 4 * heads * inner * d_state


def scan_backward_flops(heads: int, inner: int, d_state: int) -> int:
    """Of one event: in each cell six fused multiply-adds.

    The states are computed again (h = decay h + (dt x) B) and read (dC += h dy); their gradient runs back
    (g = decay g + C dy) and is read thrice (dx += g B, dB += g dt x, and g h for the decay).
    """
    return 3 * scan_forward_flops(heads, inner, d_state)

"""The gated feed-forward part (Shazeer 2020)."""

from torch import Tensor, nn

from hydrarec.ops import silu_mul


class SwiGLU(nn.Module):
    """W_down(SiLU(W_gate x) * W_up x), (..., d) -> (..., d)."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(d_model, 2 * d_hidden, bias=False)
        self.down = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(silu_mul(self.gate_up(x)))
        return out

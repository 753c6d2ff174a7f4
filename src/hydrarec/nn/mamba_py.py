"""Mamba-1 in pure PyTorch with a parallel scan, the package ``mambapy`` of the registry: a rival to measure against."""

from importlib.util import find_spec

from torch import Tensor, nn

from hydrarec.errors import InputError
from hydrarec.nn.rival import FeedForward, RivalConfig


def available() -> bool:
    """Whether the package, extra ``bench``, is installed."""
    return find_spec("mambapy") is not None


class MambaPyLayer(nn.Module):
    """h' = h + Dropout(Mamba(RMSNorm(h))), then the feed-forward part, which Mamba has not."""

    def __init__(self, config: RivalConfig) -> None:
        from mambapy.mamba import MambaBlock, MambaConfig

        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.mamba: nn.Module = MambaBlock(MambaConfig(d_model=config.d_model, n_layers=1))
        self.dropout = nn.Dropout(config.dropout)
        self.ffn = FeedForward(config, None)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        out: Tensor = self.ffn(h + self.dropout(self.mamba(self.norm(h))))
        return out


class MambaPy(nn.Module):
    """Dropout(x), then Mamba layers, then a norm.

    Raises:
        InputError: the package is not installed.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        if not available():
            raise InputError("the package mambapy is missing; install it: pip install 'hydrarec[bench]'")
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(MambaPyLayer(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1]."""
        h = self.dropout(x)
        for layer in self.layers:
            h = layer(h)
        out: Tensor = self.norm(h)
        return out

"""The settings of Hydra's sequence encoder."""

from dataclasses import dataclass

from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes, and what may be left out.

    Attributes:
        d_model: width d of item vectors and hidden states.
        n_layers: Hydra layers.
        n_heads: latent subspaces v.
        d_head: latent width c of a head; None is d_model / n_heads.
        expand: inner width of a head's Mamba is E = expand * c.
        d_state: state size N of a channel.
        d_conv: taps of the causal convolution.
        ffn: width of the feed-forward part as a multiple of d; 0 leaves it out.
        output_projection: RMSNorm and a linear map after the last layer. Without it the residual path carries an
            item's own vector straight to the scorer, where it is most similar to itself.
        time_heads: heads a layer whose memory fades with time, together about twice as wide as d; only where time is
            read.
        dropout: share of activations set to zero in training.
    """

    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_head: int | None = None
    expand: int = 2
    d_state: int = 16
    d_conv: int = 4
    ffn: float = 2.0
    output_projection: bool = True
    time_heads: int = 8
    dropout: float = 0.2

    @property
    def latent(self) -> int:
        """c, the latent width of a head."""
        return self.d_head or self.d_model // self.n_heads

    @property
    def inner(self) -> int:
        """E, the inner width of a head's Mamba."""
        return self.expand * self.latent

    @property
    def time_width(self) -> int:
        """Width of a time head."""
        return max(1, 2 * self.d_model // max(1, self.time_heads))

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "d_head", "expand", "d_state", "d_conv"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if self.d_head is None and self.d_model % self.n_heads:
            raise InputError(f"n_heads={self.n_heads} must divide d_model={self.d_model}, or d_head must be given")
        for name in ("ffn", "time_heads"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), not {self.dropout}")

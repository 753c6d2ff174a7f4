"""Gated recurrent networks as torch runs them: GRU4Rec (Hidasi et al. 2016), and with residuals, to compare layers."""

from torch import Tensor, nn

from hydrarec.nn.rival import FeedForward, LayersConfig, RivalConfig, xavier_


class GRULayer(nn.Module):
    """h' = h + Dropout(GRU(LayerNorm(h))), then the feed-forward part, which GRU4Rec has not."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norm = nn.LayerNorm(d)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.ffn = FeedForward(config, None)

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        out: Tensor = self.ffn(h + self.dropout(self.gru(self.norm(h))[0]))
        return out


class GRU(nn.Module):
    """Dropout(x), then GRU layers, then a norm."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(GRULayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1]."""
        h = self.dropout(x)
        for layer in self.layers:
            h = layer(h)
        out: Tensor = self.norm(h)
        return out


class GRU4Rec(nn.Module):
    """W GRU(Dropout(x)): layers one upon the other, dropout between them, and a linear map from their width to d.

    Hidasi et al. 2016, arXiv 1511.06939, with item vectors as inputs (as in RecBole) instead of one-hot ones.
    """

    def __init__(self, config: LayersConfig, width: int) -> None:
        super().__init__()
        between = config.dropout if config.n_layers > 1 else 0.0
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(config.d_model, width, config.n_layers, batch_first=True, dropout=between)
        self.w_o = nn.Linear(width, config.d_model)
        xavier_(self)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, L, d), padded on the right -> h (B, L, d); h[:, t] has seen x[:, :t+1]."""
        out: Tensor = self.w_o(self.gru(self.dropout(x))[0])
        return out

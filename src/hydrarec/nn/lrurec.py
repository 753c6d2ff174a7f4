"""LRURec's sequence encoder (Yue et al. 2024, arXiv 2310.02367): linear recurrent units with a feed-forward part."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydrarec.nn.post_norm import PostNormConfig, PostNormFeedForward
from hydrarec.nn.recurrence import Turns, by_turns, packed, recurrence, turns
from hydrarec.ops import dropout, dropout_add

R_MIN, R_MAX = 0.8, 0.99  # moduli of the decays at first
EPS = 1e-5


class LRU(nn.Module):
    """h_t = lambda h_{t-1} + gamma (B x_t + b), y_t = Re(C h_t) + c, with 2d complex channels (equation 5).

    lambda = exp(-exp(nu) + i exp(theta)) and gamma = exp(.) are learned by their logarithms (Orvieto et al. 2023).
    Complex matrices are kept as real ones: B as rows real, imaginary, real, ...; C as columns that meet them, so that
    the imaginary ones carry their minus sign.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        H = 2 * d_model
        modulus2 = torch.rand(H) * (R_MAX**2 - R_MIN**2) + R_MIN**2
        self.nu_log = nn.Parameter((-0.5 * modulus2.log()).log())
        self.theta_log = nn.Parameter((torch.rand(H) * 2 * math.pi).clamp(min=1e-6).log())
        self.gamma_log = nn.Parameter(0.5 * (1 - modulus2).log())
        self.in_proj = nn.Linear(d_model, 2 * H)
        self.out_proj = nn.Linear(2 * H, d_model)

    def forward(self, x: Tensor, order: Turns) -> Tensor:
        """x (T, d) by turns -> (T, d)."""
        gamma = self.gamma_log.exp().repeat_interleave(2)
        # On the weights the factor costs nothing.
        u = F.linear(x, gamma.unsqueeze(1) * self.in_proj.weight, gamma * self.in_proj.bias)
        decay = torch.polar((-self.nu_log.exp()).exp(), self.theta_log.exp())
        h = recurrence(torch.view_as_complex(u.unflatten(1, (-1, 2))), decay, order)
        out: Tensor = self.out_proj(torch.view_as_real(h).flatten(1))
        return out


class LRURecLayer(nn.Module):
    """LayerNorm(h + Dropout(LRU(h))), then the feed-forward part (equation 9)."""

    def __init__(self, config: PostNormConfig) -> None:
        super().__init__()
        self.p = config.dropout
        self.lru = LRU(config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=EPS)
        self.ffn = PostNormFeedForward(config, EPS)

    def forward(self, h: Tensor, order: Turns) -> Tensor:
        """h (T, d) by turns -> (T, d)."""
        out: Tensor = self.ffn(self.norm(dropout_add(h, self.lru(h, order), self.p, self.training)))
        return out


class LRURecEncoder(nn.Module):
    """LayerNorm(Dropout(x)), then layers, all by turns: what is not the recurrence does not mind the order of rows."""

    def __init__(self, config: PostNormConfig) -> None:
        super().__init__()
        self.p = config.dropout
        self.norm = nn.LayerNorm(config.d_model, eps=EPS)
        self.layers = nn.ModuleList(LRURecLayer(config) for _ in range(config.n_layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):  # weights and biases, as the authors' code
                for parameter in module.parameters():
                    nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x (T, d) item vectors, offsets (B+1,) -> h (T, d); h[t] has seen its user's events up to and including t."""
        order = turns(offsets)
        h: Tensor = self.norm(dropout(by_turns(x, order), self.p, self.training))
        for layer in self.layers:
            h = layer(h, order)
        return packed(h, order)

"""A whole Hydra layer, and a block of Mamba-1, said in the GPU's operations: the same numbers, states and gradients."""

import torch
import torch.nn.functional as F
from gpu_cases import DEVICE, needs_triton, normal
from support import close, offsets_of, small_config

from hydrarec.nn.layer import HydraLayer
from hydrarec.nn.mamba import HeadState, per_head
from hydrarec.nn.mamba1 import Mamba1
from hydrarec.ops.gpu.conv import causal_conv_silu
from hydrarec.ops.gpu.interact import interact
from hydrarec.ops.gpu.mamba1 import scan_mamba1
from hydrarec.ops.gpu.norm import gated_rms_norm, rms_norm
from hydrarec.ops.gpu.ssd import scan_ssd
from hydrarec.ops.gpu.swiglu import swiglu

pytestmark = needs_triton


def fused_block(block, x, offsets):
    E, N, U = block.inner, block.d_state, len(offsets) - 1
    values, gate = per_head(x.unsqueeze(1), block.in_proj).split([E, E], dim=2)
    taps, start = x.new_zeros(U, block.conv_weight.shape[2] - 1, 1, E), x.new_zeros(U, 1, E, N)
    values, _ = causal_conv_silu(values, block.conv_weight, block.conv_bias, offsets, taps)
    step, B, C = per_head(values, block.x_proj).split([block.rank, N, N], dim=2)
    dt = F.softplus(per_head(step, block.dt_proj) + block.dt_bias)
    y, _ = scan_mamba1(values, dt, -block.A_log.exp(), B, C, offsets, start)
    y = torch.addcmul(y, values, block.skip) * F.silu(gate)
    return per_head(y, block.out_proj).squeeze(1)


def fused_heads(heads, x, offsets, state):
    E, N = heads.inner, heads.d_state
    gate, joint, step = per_head(x, heads.in_proj).split([E, E + 2 * N, 1], dim=2)
    joint, conv = causal_conv_silu(joint, heads.conv_weight, heads.conv_bias, offsets, state.conv)
    values, B, C = joint.split([E, N, N], dim=2)
    dt = F.softplus(step + heads.dt_bias)
    y, ssm = scan_ssd(values, dt, -heads.A_log.exp(), B, C, offsets, state.ssm, operands=torch.float32)
    y = gated_rms_norm(torch.addcmul(y, values, heads.skip), gate, heads.norm, 1e-5)
    return per_head(y, heads.out_proj), HeadState(conv, ssm)


def fused(layer, h, offsets, state):
    normed = rms_norm(h, layer.norm.weight, 1e-6)
    G, c = layer.heads.in_proj.shape[:2]
    x, z = layer.w_xz(normed).unflatten(1, (2, G, c)).unbind(1)
    x = F.silu(x)
    y, state = fused_heads(layer.heads, x, offsets, state)
    h = h + layer.w_o(interact(y, z, layer.heads.scale).flatten(1))
    normed = rms_norm(h, layer.ffn_norm.weight, 1e-6)
    return h + layer.ffn.down(swiglu(layer.ffn.gate_up(normed))), state


def test_fused_layer():
    torch.manual_seed(0)
    config = small_config(d_model=4)
    plain, lengths = HydraLayer(config).double(), [5, 0, 18]
    mine = HydraLayer(config).to(DEVICE)
    mine.load_state_dict(plain.state_dict())
    conv, ssm = plain.heads.initial_state(3).conv, plain.heads.initial_state(3).ssm
    inputs = [normal(23, 4), normal(*conv.shape, seed=1), normal(*ssm.shape, seed=2)]
    outcomes = []
    for layer, run in ((mine, lambda *v: fused(mine, *v)), (plain, plain)):
        like = next(layer.parameters())
        h, conv, ssm = (v.to(like).requires_grad_() for v in inputs)
        offsets = offsets_of(lengths).to(like.device)
        y, state = run(h, offsets, HeadState(conv, ssm))
        results = [y, state.conv, state.ssm]
        weights = [normal(*v.shape, seed=i).to(v) for i, v in enumerate(results)]
        outcomes.append([*results, *torch.autograd.grad(results, [h, conv, ssm, *layer.parameters()], weights)])
    for got, expected in zip(*outcomes, strict=True):
        close(got.cpu(), expected, 2e-5)


def test_fused_block_of_mamba1():
    torch.manual_seed(0)
    plain, lengths = Mamba1(4, expand=2, d_state=3, d_conv=4).double(), [5, 0, 18]
    mine = Mamba1(4, expand=2, d_state=3, d_conv=4).to(DEVICE)
    mine.load_state_dict(plain.state_dict())
    outcomes = []
    for block, run in ((mine, lambda *v: fused_block(mine, *v)), (plain, plain)):
        like = next(block.parameters())
        x = normal(23, 4).to(like).requires_grad_()
        y = run(x, offsets_of(lengths).to(like.device))
        outcomes.append([y, *torch.autograd.grad(y, [x, *block.parameters()], normal(23, 4, seed=1).to(like))])
    for got, expected in zip(*outcomes, strict=True):
        close(got.cpu(), expected, 2e-5)

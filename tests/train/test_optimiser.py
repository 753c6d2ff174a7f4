import json
import math
import subprocess
import sys

import pytest
import torch
from support import cyclic, small_config
from torch import nn

from hydrarec.errors import InputError
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train.config import TrainConfig
from hydrarec.train.optimiser import adamw, learning_rate

MATRICES = {"in_proj", "out_proj", "w_xz", "w_o", "w_vz", "gate_up", "down"}


def test_only_matrices_of_linear_maps_decay():
    plain = {key: getattr(small_config(), key) for key in ("d_model", "n_heads", "d_state")}
    model = Hydra(HydraConfig(**plain), 5, torch.tensor([0, 1, 1, 0, 2]))
    optimiser = adamw(model, TrainConfig(weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        last = parts[-2] if parts[-1] in ("weight", "bias") else parts[-1]
        matrix = (last in MATRICES and parts[-1] != "bias") or name == "encoder.output.1.weight"
        assert decays[id(parameter)] == (0.3 if matrix else 0.0), name


def test_the_decay_is_really_left_out():
    model = Hydra(HydraConfig(d_model=8, n_heads=2), 5)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw(model, TrainConfig(weight_decay=0.5, lr=0.1)).step()
    for name, parameter in model.named_parameters():
        factor = 0.95 if name.split(".")[-1] in {"in_proj", "out_proj"} or ".w_" in name or "ffn." in name else 1.0
        factor = 0.95 if name == "encoder.output.1.weight" else factor
        torch.testing.assert_close(parameter.detach(), before[name] * factor, msg=name)


def test_it_is_the_adamw_of_torch():
    """Which it takes apart; also from a state that was kept."""
    config = TrainConfig(weight_decay=0.3, lr=0.1)
    ours, theirs = (nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimiser = adamw(ours, config)
    known = [
        {**group, "params": [theirs.weight if p.dim() == 2 else theirs.bias for p in group["params"]]}
        for group in optimiser.param_groups
    ]
    reference = torch.optim.AdamW(known, lr=config.lr, betas=config.betas, fused=True)
    for step in range(6):
        if step == 3:
            optimiser, kept = adamw(ours, config), optimiser.state_dict()
            optimiser.load_state_dict(kept)
        x = torch.randn(5, 3)
        for model, each in (ours, optimiser), (theirs, reference):
            model(x).square().sum().backward()
            assert each.step() is None
            each.zero_grad()
            assert model.weight.grad is None
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)
        assert not torch.equal(ours.weight, torch.zeros(2, 3))


@pytest.mark.parametrize("loss", ["softmax", "sampled"])
def test_training_loads_neither_compiler_nor_sympy(loss, tmp_path):
    cyclic(users=9, length=6, n_items=5).save(tmp_path / "data")
    words = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--json", "--set", f"loss.kind={loss}"]
    code = (
        "import sys; from hydrarec.cli import main\n"
        f"assert main({words!r}) == 0\n"
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] > 0


def test_warm_up_and_cosine():
    config = TrainConfig(lr=2.0, warmup=0.2)
    given = [0.0, 0.1, 0.2, 0.4, 0.6, 1.0]
    expected = [0.0, 1.0, 2.0, 1 + math.cos(math.pi / 4), 1.0, 0.0]
    assert [learning_rate(config, progress) for progress in given] == pytest.approx(expected)


def test_constant_and_no_warm_up():
    constant = TrainConfig(lr=2.0, warmup=0.5, schedule="constant")
    assert [learning_rate(constant, p) for p in (0.0, 0.25, 0.5, 0.9, 1.0)] == [0.0, 1.0, 2.0, 2.0, 2.0]
    assert learning_rate(TrainConfig(lr=2.0, warmup=0.0), 0.0) == 2.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_events": 0},
        {"validate_every": 0},
        {"max_len": -1},
        {"patience": -1},
        {"clip": -1.0},
        {"clip": math.nan},
        {"lr": 0.0},
        {"lr": math.nan},
        {"warmup": 1.0},
        {"domain_power": 1.5},
        {"domain_power": math.nan},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"seed": -1},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**wrong)

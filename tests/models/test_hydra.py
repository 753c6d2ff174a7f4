import pytest
import torch
from support import small_config

from hydrarec.data.batch import pack
from hydrarec.errors import InputError
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.models.registry import model_classes
from hydrarec.train.config import TrainConfig
from hydrarec.train.optimiser import adamw


def make(n_items=11, **changes):
    torch.manual_seed(3)
    plain = {key: getattr(small_config(), key) for key in ("d_model", "n_layers", "n_heads", "d_state")}
    return Hydra(HydraConfig(**{**plain, **changes}), n_items).eval()


BATCH = pack([[1, 2, 3], [10], [5, 5, 0, 7]])


def scores(model, batch=BATCH):
    with torch.inference_mode():
        return torch.cat([part for _, part in model.score(batch)], dim=1)


def test_scores_are_cosines_over_the_temperature():
    model = make(temperature=0.1)
    with torch.inference_mode():
        last = model.encode(BATCH)[torch.tensor([2, 3, 7])]
        cosines = torch.cosine_similarity(last[:, None], model.items.weight[None], dim=2)
    torch.testing.assert_close(scores(model), cosines / 0.1)
    assert model.scale == pytest.approx(10)


def test_scores_are_plain_products_without_normalising():
    model = make(normalize=False, temperature=0.1)
    with torch.inference_mode():
        last = model.encode(BATCH)[torch.tensor([2, 3, 7])]
        torch.testing.assert_close(scores(model), last @ model.items.weight.T)
    assert model.scale == 1


@pytest.mark.parametrize("chunk", [1, 4, 11, 12])
def test_chunks_of_the_catalog_are_the_whole(chunk):
    model = make()
    whole = scores(model)
    model.chunk_items = chunk
    with torch.inference_mode():
        parts = list(model.score(BATCH))
    assert [first for first, _ in parts] == list(range(0, 11, chunk))
    torch.testing.assert_close(torch.cat([part for _, part in parts], dim=1), whole, rtol=1e-6, atol=1e-6)


def test_resuming_scores_as_the_whole_history_does():
    model = make()
    with torch.inference_mode():
        _, state = model.resume(pack([[1, 2], [10], []]), model.initial_state(3))
        _, state = model.resume(pack([[3], [], [5, 5, 0, 7]]), state)
        resumed = torch.cat([part for _, part in model.score_hidden(state.hidden)], dim=1)
    torch.testing.assert_close(resumed, scores(model), rtol=1e-5, atol=1e-5)


def test_tensors_there_and_back():
    model = make()
    again = Hydra.from_tensors(model.config, 11, {name: value.clone() for name, value in model.tensors().items()})
    assert not again.training
    assert torch.equal(scores(again), scores(model))
    tensors = model.tensors()
    tensors.pop("encoder.norm.weight")
    with pytest.raises(RuntimeError, match=r"encoder\.norm\.weight"):
        Hydra.from_tensors(model.config, 11, tensors)


def test_parameter_counts():
    d, v, c, E, N, K = 8, 2, 4, 8, 3, 4
    F = E + 2 * N
    head = c * (E + F + 1) + F * K + F + E + 1 + 1 + E + E * c  # in, conv, its bias, D, dt, A, norm, out
    layer = d + 2 * d * v * c + v * head + v * c * d + d + 3 * d * 2 * d  # norm, W_X W_Z, heads, W_O, norm, SwiGLU
    output = d + d * d  # norm, matrix
    assert make().parameter_counts() == {"items": 11 * d, "encoder": d + 2 * layer + output}
    assert make(output_projection=False).parameter_counts()["encoder"] == d + 2 * layer


def test_registry_and_config():
    assert model_classes("hydra") == (HydraConfig, Hydra)
    with pytest.raises(InputError, match="did you mean 'hydra'"):
        model_classes("hidra")
    with pytest.raises(InputError, match="temperature must be positive"):
        HydraConfig(temperature=0.0)
    with pytest.raises(InputError, match="must divide"):
        HydraConfig(n_heads=7)


def test_steps_follow_weights_that_an_optimiser_changed():
    """Fused optimisers leave a parameter's version as it is."""
    model = make()
    one = pack([[4]])
    before = model.step_(one, model.initial_state(1)).clone()
    model.train()
    optimiser = adamw(model, TrainConfig(lr=0.1))
    model.encode(BATCH).square().sum().backward()
    optimiser.step()
    model.eval()
    after = model.step_(one, model.initial_state(1))
    assert (after - before).abs().max() > 0.01
    with torch.inference_mode():
        torch.testing.assert_close(after, model.encode(one), atol=1e-5, rtol=1e-5)

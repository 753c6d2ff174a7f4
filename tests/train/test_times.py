import pytest
from support import cyclic

from hydrarec.data.protocol import Protocol
from hydrarec.errors import InputError
from hydrarec.progress import Silent
from hydrarec.train.settings import resolve
from hydrarec.train.train import train


@pytest.mark.parametrize(("model", "overrides"), [("hydra", ["model.time=true"]), ("hstu", [])])
def test_a_model_that_reads_time_refuses_data_without(model, overrides, tmp_path):
    settings, _ = resolve(model=model, overrides=[*overrides, "train.epochs=1"])
    with pytest.raises(InputError, match=r"has no times; bring times, or --set model\.time=false"):
        train(cyclic(), tmp_path / "run", settings, Protocol.named("loo"), progress=Silent())
    assert not (tmp_path / "run" / "config.json").exists()

"""``hydrarec evaluate``."""

from pathlib import Path
from typing import Literal

from hydrarec.cli.options import Json


def evaluate(
    run: Path,
    /,
    *,
    split: Literal["valid", "test"] = "test",
    dataset: Path | None = None,
    device: str = "cpu",
    json: Json = False,
) -> None:
    """Measure a trained run again, with intervals and by group.

    Parameters
    ----------
    run
        The run folder.
    split
        Which targets to ask for.
    dataset
        Where the data set lies now, if it moved.
    device
        cpu, cuda, ...
    """
    from hydrarec.cli.output import print_groups, print_json, print_metrics
    from hydrarec.progress import reporter
    from hydrarec.recommender import Recommender

    recommender = Recommender.load(run, dataset=dataset, device=device)
    measured = recommender.evaluate(split, progress=reporter(json)).to_dict()
    protocol, seed = recommender.run.protocol, recommender.run.settings.train.seed
    fingerprint = recommender.dataset.fingerprint
    if json:
        where = {"run": str(run), "protocol": protocol.split, "split": split, "fingerprint": fingerprint, "seed": seed}
        print_json({**where, **measured})
        return
    print_metrics(protocol, f"{recommender.run.settings.name}, {split}", measured)
    print_groups(protocol, "by group", measured["groups"])
    print(f"seed {seed}, data {fingerprint[:16]}")

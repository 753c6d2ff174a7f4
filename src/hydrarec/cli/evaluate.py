"""``hydrarec evaluate``."""

from pathlib import Path
from typing import Literal

from hydrarec.cli.options import Count, Json


def evaluate(
    run: Path,
    /,
    *,
    split: Literal["valid", "test"] = "test",
    dataset: Path | None = None,
    device: str = "cpu",
    procs: Count = 1,
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
    procs
        Processes on this machine that share the users, or a sharded table.
    """
    from hydrarec.cli.output import print_groups, print_json, print_metrics
    from hydrarec.cli.several import first_reporter, started
    from hydrarec.processes import is_first, joined
    from hydrarec.recommender import Recommender

    if started(procs):
        return
    with joined(device) as place:
        first = is_first()
        recommender = Recommender.load(run, dataset=dataset, device=place)
        measured = recommender.evaluate(split, progress=first_reporter(json)).to_dict()
    if not first:
        return
    protocol, seed = recommender.run.protocol, recommender.run.settings.train.seed
    fingerprint = recommender.dataset.fingerprint
    if json:
        where = {"run": str(run), "protocol": protocol.split, "split": split, "fingerprint": fingerprint, "seed": seed}
        print_json({**where, **measured})
        return
    print_metrics(protocol, f"{recommender.run.settings.name}, {split}", measured)
    print_groups(protocol, "by group", measured["groups"])
    print(f"seed {seed}, data {fingerprint[:16]}")

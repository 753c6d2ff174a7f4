"""``hydrarec train``."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hydrarec.cli.options import Columns, Count, Json, MaybeCount, Out, ProtocolChoice, Set

_COLUMNS, _PROTOCOL = Columns(), ProtocolChoice()


def train(
    source: str,
    /,
    *,
    out: Out | None = None,
    continue_: Annotated[Path | None, Parameter(name="--continue")] = None,
    dataset: Path | None = None,
    keep_days: float = 30.0,
    model: str | None = None,
    recipe: Path | None = None,
    set_: Set = None,
    seed: MaybeCount = None,
    resume: Literal["auto", "never"] = "auto",
    device: str = "cpu",
    procs: Count = 1,
    columns: Columns = _COLUMNS,
    protocol: ProtocolChoice = _PROTOCOL,
    json: Json = False,
) -> None:
    """Train a model on events or on a prepared data set, and measure it.

    Parameters
    ----------
    source
        A file of events, or the folder that `prepare` made.
    continue_
        A run to go on with: it is measured on the events of SOURCE, then trained on
        them. They are new ones, or a data set that they were added to. No --out.
    dataset
        With --continue, where the data set of the run lies now, if it moved.
    keep_days
        With --continue, new items get the rows of those without an event for so long.
    model
        hydra; its rivals sasrec, esasrec, hstu, gru4rec, mamba4rec, lrurec and
        fuxi_linear; or, by counting, popularity, recent, markov and itemknn.
    recipe
        TOML file of settings.
    set_
        One setting, such as train.lr=1e-3; may be given many times.
    seed
        Governs everything that is random.
    resume
        auto: go on with an unfinished run of the same settings; never: begin again.
    device
        cpu, cuda, ...
    procs
        Processes on this machine that train together; torchrun starts them on many.
    """
    from hydrarec.cli.output import print_day, print_groups, print_json, print_metrics, seconds
    from hydrarec.cli.several import first_reporter, started
    from hydrarec.errors import InputError
    from hydrarec.evaluate.groups import of_domains
    from hydrarec.processes import is_first, joined
    from hydrarec.progress import say
    from hydrarec.train.fit import fit
    from hydrarec.train.stream import continue_run
    from hydrarec.train.summary import summary

    _refuse_mixed(continue_ is not None, bool(out or model or recipe or protocol != _PROTOCOL), dataset)
    if started(procs):
        return
    if continue_ is not None:
        with joined(device) as place:
            first = is_first()
            run, day = continue_run(
                continue_,
                source,
                keep_days=keep_days,
                overrides=[*(set_ or []), *([] if seed is None else [f"train.seed={seed}"])],
                columns=columns.given(),
                dataset=dataset,
                progress=first_reporter(json),
                device=place,
            )
        if first and json:
            print_json({"run": str(run.path), **vars(day)})
        elif first:
            print_day(run, day)
        return
    if out is None:
        raise InputError("say where the run is written: --out, or --continue RUN for one that is there")
    with joined(device) as place:
        first = is_first()
        run = fit(
            source,
            out,
            model=model,
            recipe=recipe,
            overrides=set_ or [],
            seed=seed,
            protocol=protocol.protocol,
            protocol_fields=protocol.fields(),
            columns=columns.given(),
            resume=resume,
            progress=first_reporter(json),
            log=say if first else None,
            device=place,
        )
    if not first:
        return
    if json:
        print_json(summary(run))
        return
    results = run.metrics
    print_metrics(run.protocol, f"{run.settings.name}, test", results["test"])
    if domains := of_domains(results["test"]["groups"]):
        print_groups(run.protocol, "by domain", domains)
    counts, epochs = results["parameters"], results["epochs"]
    size = f" ({results['item_bytes'] / 2**20:,.1f} MiB)" if "item_bytes" in results else ""
    print(f"parameters: {counts['encoder']:,} encoder, {counts['items']:,} items{size}")
    print(
        f"{epochs} epoch{'s' * (epochs != 1)} in {seconds(results['seconds'])}; "
        f"peak {results['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )
    print(f"seed {results['seed']}, data {results['fingerprint'][:16]}, {results['machine']['processor']}")
    print(f"next: hydrarec recommend {out} --user ID")


def _refuse_mixed(continues: bool, begins: bool, dataset: Path | None) -> None:
    """Raise an ``InputError`` where options of a run that goes on stand beside those of a new one."""
    from hydrarec.errors import InputError

    if continues and begins:
        raise InputError("--continue keeps the run's folder, model and protocol; leave the others out")
    if dataset is not None and not continues:
        raise InputError("--dataset is where the data set of a run went, with --continue; name what to learn as SOURCE")

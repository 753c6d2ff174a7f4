"""``hydrarec prepare``."""

from pathlib import Path

from hydrarec.cli.options import Columns, Flag, Json, Out, ProtocolChoice

_COLUMNS, _PROTOCOL = Columns(), ProtocolChoice()


def prepare(
    source: str,
    /,
    *more: str,
    out: Out,
    columns: Columns = _COLUMNS,
    protocol: ProtocolChoice = _PROTOCOL,
    overwrite: Flag = False,
    append: Flag = False,
    json: Json = False,
) -> None:
    """Turn a table of events, or several, into a data set folder.

    Parameters
    ----------
    source
        CSV, TSV, Parquet, JSON lines (plain, gzip or zstd), or a RecBole .inter file.
    more
        Further sources. Each source is then a domain, called after its file, or after
        its folder where the file has a generic name such as events. Item ids become
        NAME:ID. The same user id is the same person everywhere, whose events of all
        domains become one history in order of time.
    overwrite
        Replace an existing folder.
    append
        Add the events, such as a day's, to an existing folder, whose protocol stays.
    """
    import time

    from hydrarec.cli.output import print_json, seconds
    from hydrarec.data.append import append as add
    from hydrarec.data.prepare import prepare as make
    from hydrarec.data.protocol import Protocol
    from hydrarec.data.split import leakage_warning, split
    from hydrarec.errors import InputError
    from hydrarec.progress import reporter, say

    began = time.monotonic()
    if append and (overwrite or protocol != _PROTOCOL):
        raise InputError("--append keeps what is there, its protocol included; leave --overwrite and --protocol out")
    chosen = Protocol.named(protocol.protocol or "time", **protocol.fields())
    if not append and (warning := leakage_warning(chosen)) is not None:
        say(f"warning: {warning}")
    options = {"log": say, "progress": reporter(json), **columns.given()}
    if append:
        dataset = add([source, *more], Path(out), **options)
        chosen = dataset.protocol
    else:
        dataset = make([source, *more], Path(out), protocol=chosen, overwrite=overwrite, **options)
    took = time.monotonic() - began
    targets = {"valid": 0, "test": 0}
    try:
        parts = split(dataset)
        targets = {"valid": len(parts.valid), "test": len(parts.test)}
    except InputError as error:  # the data set is whole; another protocol may suit it
        say(f"warning: {error}")
    if json:
        print_json(
            {
                "dataset": str(out),
                "users": dataset.n_users,
                "items": dataset.n_items,
                "events": dataset.n_events,
                "protocol": chosen.split,
                "fingerprint": dataset.fingerprint,
                "seconds": round(took, 3),
                "targets": targets,
                "statistics": dataset.statistics,
                **({"domains": dataset.domains} if dataset.domains else {}),
            }
        )
        return
    print(f"{out}: {dataset.n_users:,} users, {dataset.n_items:,} items, {dataset.n_events:,} events, {seconds(took)}")
    print(f"protocol: {chosen.describe(domains=bool(dataset.domains))}")
    print(f"targets: {targets['valid']:,} to validate, {targets['test']:,} to test")
    print(f"fingerprint: {dataset.fingerprint[:16]}")
    print(f"next: hydrarec train {out} --out RUN")

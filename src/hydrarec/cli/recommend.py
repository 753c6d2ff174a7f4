"""``hydrarec recommend``."""

import csv
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from hydrarec.cli.options import Count, Flag, Json


def recommend(
    run: Path,
    /,
    *,
    user: str | None = None,
    history: str | None = None,
    times: str | None = None,
    all_: Annotated[Flag, Parameter(name="--all")] = False,
    out: Path | None = None,
    k: Annotated[Count, Parameter(name=["-k", "--k"])] = 10,
    at: str | None = None,
    exclude_seen: Flag = False,
    domain: str | None = None,
    strict: Flag = False,
    dataset: Path | None = None,
    device: str = "cpu",
    procs: Count = 1,
    json: Json = False,
) -> None:
    """Recommend the next items for a user, for a history, or for everybody.

    Parameters
    ----------
    run
        The run folder.
    user
        Id of a user in the data set.
    history
        Item ids, oldest first, with commas between them; an id that has a comma itself stands in double quotes.
    times
        When the events of --history happened (dates, or seconds since 1970), for models that read time.
    all_
        Every user of the data set, into --out.
    out
        Parquet file for --all.
    k
        How many items.
    at
        Request time (a date, or seconds since 1970): no event of --user or --all at or after it is looked at. Without
        it, a model that reads time answers as of the last event known.
    exclude_seen
        Leave out items of the history.
    domain
        Only items of this domain; the whole history is read all the same.
    strict
        Unknown item ids are an error instead of a warning.
    dataset
        Where the data set lies now, if it moved.
    device
        cpu, cuda, ...
    procs
        With --all: processes on this machine that share the users, or a sharded table.
    """
    from hydrarec.cli.output import print_json
    from hydrarec.cli.several import is_one_of, started
    from hydrarec.errors import InputError
    from hydrarec.recommender import Recommender

    if sum([user is not None, history is not None, all_]) != 1:
        raise InputError("give exactly one of --user, --history and --all")
    if times is not None and history is None:
        raise InputError("--times belongs to --history")
    if all_ != (out is not None):
        raise InputError("--all writes a Parquet file: give both --all and --out FILE.parquet")
    if out is not None and (out.suffix != ".parquet" or out.is_dir()):
        raise InputError(f"--out {out} {'is a folder' if out.is_dir() else 'is no Parquet file'}; name a FILE.parquet")
    if not all_ and (procs > 1 or is_one_of() > 1):
        raise InputError("several processes answer --all together; one user is asked for in one process")
    if started(procs):
        return
    how: dict[str, Any] = {
        "k": k,
        "at": at,
        "exclude_seen": exclude_seen,
        "domain": domain,
        "strict": strict,
    }
    if out is not None:
        _everybody(run, out, dataset, device, json, how)
        return
    recommender = Recommender.load(run, dataset=dataset, device=device)
    asked: dict[str, Any] = {"users": [user]}
    if history is not None:
        asked = {"histories": [_ids(history)], "times": None if times is None else [_ids(times)]}
    found = recommender.recommend(**asked, **how).select(["item", "score"]).to_pylist()
    if json:
        print_json({"recommendations": found})
    else:
        _show(recommender, found)


def _ids(history: str) -> list[str]:
    rows = csv.reader(history.splitlines(), skipinitialspace=True)
    return [item.strip() for row in rows for item in row if item.strip()]


def _everybody(run: Path, out: Path, dataset: Path | None, device: str, json: bool, how: dict[str, Any]) -> None:
    import time

    import pyarrow.parquet as pq

    from hydrarec.cli.output import print_json, seconds
    from hydrarec.cli.several import first_reporter
    from hydrarec.files import whole_file
    from hydrarec.processes import is_first, joined
    from hydrarec.recommender import Recommender

    with joined(device) as place:
        first = is_first()
        recommender = Recommender.load(run, dataset=dataset, device=place)
        _ = recommender.dataset
        began = time.monotonic()
        answer = recommender.recommend(users="all", **how, progress=first_reporter(json))
    if not first:
        return
    with whole_file(out) as temporary:
        pq.write_table(answer, temporary)
    took = round(time.monotonic() - began, 3)
    if json:
        print_json({"out": str(out), "rows": answer.num_rows, "seconds": took})
    else:
        print(f"{out}: {answer.num_rows:,} recommendations, {seconds(took)} after loading")


def _show(recommender: Any, found: list[dict[str, Any]]) -> None:
    from hydrarec.progress import table

    titles = recommender.titles([row["item"] for row in found])
    rows: list[list[str | int | float]] = [
        [place, str(row["item"]), row["score"]] for place, row in enumerate(found, 1)
    ]
    columns = ["rank", "item", "score"]
    if any(titles):
        rows = [[*row, title] for row, title in zip(rows, titles, strict=True)]
        columns.append("title")
    table("", columns, rows)

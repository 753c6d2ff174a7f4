"""``hydrarec load``."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hydrarec.cli.options import Columns, Count, Flag, Json, MaybeCount

_COLUMNS = Columns()


def load(
    source: str,
    /,
    *,
    url: str = "http://127.0.0.1:8000",
    rate: float | None = None,
    clients: Count = 64,
    seconds: float = 30.0,
    users: MaybeCount = None,
    zipf: float = 1.0,
    k: Annotated[Count, Parameter(name=["-k", "--k"])] = 20,
    soak: Flag = False,
    store: Path | None = None,
    seed: Count = 0,
    columns: Columns = _COLUMNS,
    json: Json = False,
) -> None:
    """Load-test a server on this machine: events of a data set, each followed by a recommendation.

    The users are called load-ID.NUMBER, so that the server's own stay as they are. A server that wants a key gets the
    first one of HYDRAREC_API_KEY.

    Parameters
    ----------
    source
        A file of events, or the folder that `prepare` made.
    url
        Where `hydrarec serve` listens; only an address of this machine.
    rate
        Pairs of an event and a recommendation a second, sent at random moments whether or
        not earlier ones are answered: latencies count from when they were due. Without it,
        as many as --clients get answered.
    clients
        Without --rate: how many send, each the next pair when the last one is answered.
    seconds
        How long.
    users
        Users at most; those of SOURCE.
    zipf
        The user of rank r comes as often as r to the power of minus this.
    k
        Items of a recommendation.
    soak
        Mix in reloads, items that come and go, and erasures, and watch the server's memory.
    store
        With --soak: the folder of the server's --state, whose files are searched for erased users.
    seed
        Governs who comes when.
    """
    from hydrarec.cli.output import print_json
    from hydrarec.data.folder import is_dataset
    from hydrarec.data.prepare import prepare
    from hydrarec.data.store import Dataset
    from hydrarec.errors import HydrarecError, InputError
    from hydrarec.extras import require
    from hydrarec.load.target import Target
    from hydrarec.progress import reporter

    target = Target.of(url)
    require("httptools", "serve", "a load needs")
    from hydrarec.load.report import print_load
    from hydrarec.load.run import LoadConfig, run_load

    config = LoadConfig(
        rate=rate,
        clients=clients,
        seconds=seconds,
        users=users,
        zipf=zipf,
        k=k,
        soak=soak,
        store=store,
        seed=seed,
    )
    given = columns.given()
    if is_dataset(source) and given:
        raise InputError(f"the data set is prepared already; {sorted(given)[0]} cannot be chosen any more")
    dataset = Dataset.open(Path(source)) if is_dataset(source) else prepare(source, **given)
    key = os.environ.get("HYDRAREC_API_KEY", "").split(",")[0].strip() or None
    report = run_load(target, key, dataset, config, reporter(json))
    print_json(report) if json else print_load(report)
    if report["failed"]:
        raise HydrarecError(f"{report['failed']:,} answers were neither good nor a stated refusal")

"""``hydrarec demo``."""

from pathlib import Path

from hydrarec.cli.options import Count, Json

_OUT = Path("hydrarec-demo")


def demo(*, out: Path = _OUT, seed: Count = 1, json: Json = False) -> None:
    """Train and compare models on a simulated shop, in three minutes and without a network.

    Parameters
    ----------
    out
        Folder for the shop and the runs.
    seed
        Of the shop and of the training.
    """
    from textwrap import fill

    from hydrarec.cli.output import print_json, seconds
    from hydrarec.demo import SHOWN, examples, run_demo
    from hydrarec.progress import reporter, say, table

    result = run_demo(out, seed=seed, progress=reporter(json), log=say)
    if json:
        print_json({"run": str(result.run), "table": result.table, "oracle": result.oracle, "seconds": result.seconds})
        return
    print(f"protocol: {result.protocol.describe()}")
    best = result.oracle
    rows: list[list[str | float]] = [
        [name, *(metrics[each] for each in SHOWN), f"{metrics[SHOWN[1]] / best[SHOWN[1]]:.0%}"]
        for name, metrics in {**result.table, "oracle (best possible)": best}.items()
    ]
    table("which item comes next?", ["model", *SHOWN, "of the possible"], rows)
    print(f"seed {seed}, data {result.dataset.fingerprint[:16]}")
    for example in examples(result):
        print(fill(f"user {example['user']}: ... {', '.join(example['history'])}", width=80, subsequent_indent="    "))
        for place, title in enumerate(example["recommended"], 1):
            print(f"    {place}. {title}")
    print(f"\ndone in {seconds(result.seconds)}; the run is in {result.run}. Go on with:")
    print(f"  hydrarec recommend {result.run} --user 7")
    print(f"  hydrarec recommend {result.run} --history 12,40,13")
    print(f"  hydrarec evaluate {result.run}")
    print("  hydrarec train EVENTS.csv --out RUN")

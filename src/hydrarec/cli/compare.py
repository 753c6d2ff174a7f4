"""``hydrarec compare``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hydrarec.cli.options import Flag, Json, MaybeCount

_RESULTS, _RUNS = Path("results"), Path("runs/compare")


def compare(
    *files: Path,
    only: Annotated[list[str] | None, Parameter(negative="")] = None,
    table: Annotated[list[str] | None, Parameter(negative="")] = None,
    show: Flag = False,
    jobs: MaybeCount = None,
    report: Path | None = None,
    results: Path = _RESULTS,
    runs: Path = _RUNS,
    json: Json = False,
) -> None:
    """Run models on data sets under protocols with seeds, as files say, and show the tables.

    What was done before is not done again; a run that was cut off goes on.

    Parameters
    ----------
    files
        TOML files that describe comparisons.
    only
        Labels of the models to run and show; all others are left as they are.
    table
        Tables to run and show, such as ml-1m-loo.
    show
        Run nothing; show what is there.
    jobs
        Runs at a time; as many as there are cores, by default.
    report
        Markdown file to write, with plots in a folder of its name.
    results
        Folder of the result files.
    runs
        Folder for work in progress, which may be deleted afterwards.
    """
    from hydrarec.cli.output import print_json
    from hydrarec.compare.command import compare_files, slow_reporter
    from hydrarec.compare.show import print_tables
    from hydrarec.progress import say

    done = compare_files(
        files,
        labels=only or (),
        tables=table or (),
        results=results,
        runs=runs,
        run=not show,
        jobs=jobs,
        report=report,
        progress=slow_reporter(json),
        log=(lambda line: None) if json else say,
    )
    if json:
        print_json(done.to_dict())
    else:
        print_tables(done.tables)
    done.raise_failures()

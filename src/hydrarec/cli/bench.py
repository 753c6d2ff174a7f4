"""``hydrarec bench``."""

from pathlib import Path

from hydrarec.cli.options import Json


def bench(*names: str, out: Path | None = None, json: Json = False) -> None:
    """Measure how fast Hydra is on this machine, beside SASRec, HSTU, a GRU and the machine itself.

    Parameters
    ----------
    names
        Figures to measure, such as train_d64_vs_sasrec; without any, all of them and the plot of cost against length.
    out
        Folder to write bench.json and the plots into.
    """
    from hydrarec.bench.report import print_findings, write_findings
    from hydrarec.bench.run import run_bench
    from hydrarec.cli.output import print_json
    from hydrarec.extras import require
    from hydrarec.progress import reporter

    if out is not None:
        require("matplotlib", "report", "plots need", instead="leave out --out")  # not after minutes of measuring
    findings = run_bench(names, progress=reporter(json))
    if out is not None:
        write_findings(findings, out)
    if json:
        print_json(findings.to_dict())
    else:
        print_findings(findings)

"""Accuracy against what it costs, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydrarec.compare.assemble import Assembled
from hydrarec.compare.rows import Row
from hydrarec.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ours stand out; rivals are told apart by marker too. Okabe & Ito's colours, which the colour-blind can tell.
_OURS = ("#d55e00", "#a03000", "#f0a070")
_RIVALS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#777777", "#000000")
_MARKERS = "osD^vPX<>*h"


def draw(table: Assembled, folder: Path) -> list[Path]:
    """Write ``TABLE-seconds.svg`` and ``TABLE-parameters.svg``; the same table gives the same bytes."""
    from matplotlib import rc_context

    drawn = []
    with rc_context({"svg.hashsalt": table.name, "svg.fonttype": "none"}):
        for kind, figure in (("seconds", against_seconds(table)), ("parameters", against_parameters(table))):
            path = folder / f"{table.name}-{kind}.svg"
            with whole_file(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None})
            drawn.append(path)
    return drawn


def against_seconds(table: Assembled) -> "Figure":
    """Validation NDCG@10 in the course of training, the kept weights marked; test NDCG@10 where nothing validated."""
    figure, axes = _axes()
    rows = [row for row in table.rows if row.costs["encoder"]]
    validated = bool(rows) and all(row.curve for row in rows)
    for row, style in _styled(table.rows):
        if row not in rows:
            continue
        if place := table.machines_of(row):  # seconds of different machines are no match
            style = {**style, "label": f"{row.label} [{place}]"}
        if validated:
            _, values, _, seconds = zip(*row.curve, strict=True)
            best = values.index(max(values))
            axes.plot(seconds, values, color=style["color"], linewidth=2.2 if row.ours else 1.2)
            axes.plot(seconds[best], values[best], linestyle="none", **style)
        else:
            _point(axes, row, row.costs["cpu_seconds_to_best"], style)
    _lines_of_counting(axes, table.rows, validated)
    axes.set_xlim(left=0)
    axes.set_xlabel("CPU seconds of training")
    axes.set_ylabel(f"NDCG@10, {'validation' if validated else 'test'}")
    _finish(axes, f"{table.name}: accuracy against training time")
    return figure


def against_parameters(table: Assembled) -> "Figure":
    """Test NDCG@10, mean and standard deviation over seeds, against parameters outside the item table."""
    from matplotlib.ticker import EngFormatter, LogLocator

    figure, axes = _axes()
    for row, style in _styled(table.rows):
        if row.costs["encoder"]:
            _point(axes, row, row.costs["encoder"], style)
    _lines_of_counting(axes, table.rows, False)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(EngFormatter(sep=""))
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.set_xlabel("parameters outside the item table")
    axes.set_ylabel(f"NDCG@10, {table.part_name}")
    _finish(axes, f"{table.name}: accuracy against parameters")
    return figure


def _axes() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    return figure, figure.subplots()


def _styled(rows: Sequence[Row]) -> list[tuple[Row, dict[str, Any]]]:
    """Each row with its colour and marker, the same in both plots: by label, whatever the order of the rows."""
    styles = {}
    for colours, ours in ((_OURS, True), (_RIVALS, False)):
        labels = sorted(row.label for row in rows if row.ours == ours and row.costs["encoder"])
        for place, label in enumerate(labels):
            marker = _MARKERS[(place + (0 if ours else 1)) % len(_MARKERS)]
            styles[label] = {"color": colours[place % len(colours)], "marker": marker, "label": label}
    return [(row, styles.get(row.label, {})) for row in rows]


def _point(axes: "Axes", row: Row, x: float, style: dict[str, Any]) -> None:
    axes.errorbar(x, row.metrics["NDCG@10"], yerr=row.spread.get("NDCG@10"), linestyle="none", capsize=3, **style)


def _lines_of_counting(axes: "Axes", rows: Sequence[Row], validated: bool) -> None:
    """Models that count take next to no time and have no parameters outside a table: levels to be above."""
    values = ((row.validation if validated else row.metrics["NDCG@10"], row) for row in rows)
    levels = sorted((value, row.label) for value, row in values if value is not None and not row.costs["encoder"])
    for value, _ in levels:
        axes.axhline(value, color="#999999", linestyle=":", linewidth=1)
    low, high = axes.get_ylim()
    for place, (value, label) in enumerate(levels):
        crowded = any(above - value < 0.04 * (high - low) for above, _ in levels[place + 1 : place + 2])
        axes.annotate(
            label,
            (1, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="top" if crowded else "bottom",  # under its line where the next level's label stands above both
            fontsize=8,
            color="#666666",
        )


def _finish(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color="#dddddd", linewidth=0.7)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)

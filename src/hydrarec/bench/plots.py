"""The plots of a benchmark, as SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydrarec.bench.curve import CURVE
from hydrarec.bench.rows import Row
from hydrarec.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Hydra stands out; the others are told apart by marker too. Okabe & Ito's colours, which the colour-blind can tell.
_STYLES = {
    "Hydra": ("#d55e00", "o"),
    "SASRec": ("#0072b2", "s"),
    "HSTU": ("#009e73", "^"),
    "GRU": ("#cc79a7", "D"),
    "mambapy": ("#777777", "v"),
}
_LABEL: dict[str, Any] = {
    "xytext": (8, 0),
    "textcoords": "offset points",
    "va": "center",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
}
# Figures whose rows are bars, by panel: full windows, and real lengths.
_BARS = [("train_d64_vs_sasrec", "train_d64_vs_hstu"), ("packed_vs_sasrec_bucketed", "packed_vs_sasrec_padded")]


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the plots that the rows have the data of, each whole or not at all.

    Returns:
        The files: ``cost_by_length.svg``, ``events_per_second.svg``.
    """
    plots = {"cost_by_length.svg": cost_by_length(rows), "events_per_second.svg": events_per_second(rows)}
    drawn = {folder / name: figure for name, figure in plots.items() if figure is not None}
    for path, figure in drawn.items():
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
    return list(drawn)


def cost_by_length(rows: Sequence[Row]) -> "Figure | None":
    """Microseconds an event against events of a history, a line for each model; None without such rows."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    curve = [row for row in rows if row.figure == CURVE and row.length]
    if not curve:
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row.name for row in curve):
        own = [row for row in curve if row.name == name]
        colour, marker = _STYLES[name]
        lengths, costs = [row.length or 0 for row in own], [row.us_per_event_wall for row in own]
        axes.plot(lengths, costs, color=colour, marker=marker, linewidth=2.5 if name == "Hydra" else 1.5)
        axes.annotate(name, (lengths[-1], costs[-1]), color=colour, **_LABEL)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    ticks = sorted({row.length or 0 for row in curve})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlim(right=ticks[-1] * 3)
    axes.set_xlabel("events of a history")
    axes.set_ylabel("microseconds an event")
    width = curve[0].shape.rpartition(", ")[2]
    axes.set_title(f"A training step of two layers, {width}, {_threads(curve[0])}", loc="left")
    _plain(axes)
    axes.grid(color="#dddddd", linewidth=0.7)
    return figure


def events_per_second(rows: Sequence[Row]) -> "Figure | None":
    """Events per second as bars: full windows, and real lengths; None without such rows."""
    from matplotlib.figure import Figure

    panels = [bars for bars in (_bars(rows, figures) for figures in _BARS) if bars]
    if not panels:
        return None
    counts = [len(bars) for bars in panels]
    figure = Figure(figsize=(7, 1.2 + 0.4 * sum(counts)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, gridspec_kw={"height_ratios": counts})[:, 0]
    for axes, bars in zip(grid, panels, strict=True):
        shown = list(bars.values())
        rates = [row.events_per_s / 1e3 for row in shown]
        drawn = axes.barh(list(bars), rates, color=[_STYLES[row.name.split()[0]][0] for row in shown], height=0.7)
        axes.bar_label(drawn, labels=[f"{rate:,.0f}" for rate in rates], padding=4)
        axes.invert_yaxis()
        axes.set_title(f"{_shape_and_way(shown[0])[0]}, {_threads(shown[0])}", loc="left")
        axes.margins(x=0.12)
        _plain(axes)
    grid[-1].set_xlabel("training: thousand real events per second")
    return figure


def _bars(rows: Sequence[Row], figures: Sequence[str]) -> dict[str, Row]:
    """A row for each label, the first of those that several figures share."""
    bars: dict[str, Row] = {}
    for row in rows:
        if row.figure in figures:
            way = _shape_and_way(row)[1]
            bars.setdefault(f"{row.name}, {way}" if way else row.name, row)
    return bars


def _shape_and_way(row: Row) -> tuple[str, str]:
    """What all rows of a panel share, and where the lengths are real, how a model copes with them."""
    if row.length is not None:
        return row.shape, ""
    shape, _, way = row.shape.rpartition(", ")
    return shape, way


def _threads(row: Row) -> str:
    return f"{row.threads} thread{'s' if row.threads > 1 else ''}"


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)

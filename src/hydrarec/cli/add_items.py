"""``hydrarec add-items``."""

from pathlib import Path

from hydrarec.cli.options import Flag, Json


def add_items(
    run: Path,
    file: Path,
    /,
    *,
    item: str | None = None,
    strict: Flag = False,
    json: Json = False,
) -> None:
    """Give a trained run new items, which it recommends at once: their vectors come from their text.

    Items that are known get the text they now have. The run must read text (items.kind=text, or both).

    Parameters
    ----------
    run
        The run folder, which is changed.
    file
        Table of items: an id, the text columns of training, and the domain where the run has domains.
    item
        Column of the id; guessed from usual names.
    strict
        An item without text is an error.
    """
    from hydrarec.cli.output import print_json
    from hydrarec.progress import reporter
    from hydrarec.train.add_items import add_items as add
    from hydrarec.train.run import open_run

    found = add(open_run(run), file, item=item, strict=strict, progress=reporter(json))
    counts = {"added": found.added, "updated": found.updated, "skipped": found.skipped}
    if json:
        print_json(counts)
        return
    print(", ".join(f"{name} {count:,}" for name, count in counts.items()))
    if found.without_text:
        shown = ", ".join(map(str, found.without_text[:5])) + (" ..." if len(found.without_text) > 5 else "")
        print(f"without text, and so not added: {shown}")

"""``hydrarec adapt``."""

from pathlib import Path
from typing import Literal

from hydrarec.cli.options import Columns, Json, MaybeCount, Out, ProtocolChoice, Set

_COLUMNS, _PROTOCOL = Columns(), ProtocolChoice()


def adapt(
    run: Path,
    source: str,
    /,
    *,
    out: Out,
    mode: Literal["zero-shot", "head", "adapter", "full"] = "full",
    set_: Set = None,
    seed: MaybeCount = None,
    resume: Literal["auto", "never"] = "auto",
    device: str = "cpu",
    columns: Columns = _COLUMNS,
    protocol: ProtocolChoice = _PROTOCOL,
    json: Json = False,
) -> None:
    """Adapt a trained run to the items of a new domain, by their text, and measure there and where it came from.

    Parameters
    ----------
    run
        The run folder to start from; it must read text (items.kind=text, or both). It is not changed.
    source
        A file of events of the new domain, or the folder that `prepare` made, with titles.
    mode
        What learns: nothing (zero-shot), the sequence layers (head), adapters, or everything (full).
    set_
        One setting, such as train.epochs=3, over those of the run; may be given many times.
    seed
        Governs everything that is random.
    resume
        auto: go on with an unfinished run of the same settings; never: begin again.
    device
        cpu, cuda, ...
    """
    from hydrarec.cli.output import print_json, print_metrics, seconds
    from hydrarec.data.obtain import obtain
    from hydrarec.data.protocol import Protocol
    from hydrarec.machine import usable_device
    from hydrarec.progress import reporter, say
    from hydrarec.train.adapt import adapt as adapt_run
    from hydrarec.train.resume import refuse_other_folder
    from hydrarec.train.settings import choose_protocol
    from hydrarec.train.summary import summary

    fields = protocol.fields()
    usable_device(device)
    refuse_other_folder(out, run)
    fresh = choose_protocol(Protocol.named("time"), protocol.protocol, fields)
    dataset = obtain(source, out, protocol=fresh, log=say, **columns.given())
    adapted = adapt_run(
        run,
        dataset,
        out,
        mode=mode,
        overrides=set_ or [],
        seed=seed,
        protocol=choose_protocol(dataset.protocol, protocol.protocol, fields),
        resume=resume,
        progress=reporter(json),
        device=device,
    )
    if json:
        print_json(summary(adapted))
        return
    results = adapted.metrics
    print_metrics(adapted.protocol, f"{mode}, test", results["test"])
    cost = results["cost"]
    print(
        f"{results['epochs']} epochs in {seconds(results['seconds'])}; {cost['trainable_parameters']:,} of "
        f"{cost['stored_parameters']:,} numbers learned; {cost['flops']:.3g} operations"
    )
    if before := results["before"]:
        was, now = (before[key]["NDCG@10"] for key in ("metrics", "after"))
        print(f"where it came from: NDCG@10 {was:.4f} before, {now:.4f} with the weights as they are now")
    else:
        print("where it came from: the data set is gone, nothing was measured again")

"""``hydrarec plan``."""

from typing import Annotated, Literal

from cyclopts import Parameter

from hydrarec.cli.options import Count, Flag, Json


def plan(
    *,
    items: Count,
    dim: Count = 64,
    gpus: Count = 1,
    gpu_memory: Annotated[str, Parameter(name="--gpu-memory")] = "80GB",
    encoder: Literal["table", "float32", "float16", "int8", "quotient_remainder"] | None = None,
    events: Count = 8192,
    negatives: Count = 8192,
    id_length: Count = 0,
    no_rates: Flag = False,
    json: Json = False,
) -> None:
    """Estimate a catalog's memory, traffic and training time, and say which item encoder fits.

    Parameters
    ----------
    items
        Items of the catalog.
    dim
        Width of their vectors.
    gpus
        So many GPUs, a process each. They share the rows of float32 alone.
    gpu_memory
        Of each of them.
    encoder
        The first that fits by default, the most accurate first.
    events
        Of a step on one GPU.
    negatives
        Of a step on one GPU.
    id_length
        Mean bytes of an id that is text; 0 where ids are whole numbers.
    no_rates
        Do not measure this machine for the seconds of a billion events.
    """
    from dataclasses import asdict

    from hydrarec.amount import amount
    from hydrarec.bench.rates import seconds_per_billion_events
    from hydrarec.cli.output import print_json, print_plan
    from hydrarec.items.plan import PlanConfig
    from hydrarec.items.plan import plan as make
    from hydrarec.retrieve.approximate import index_bytes
    from hydrarec.serve.catalog.indexing import WORTH

    config = PlanConfig(
        items=items,
        dim=dim,
        gpus=gpus,
        gpu_memory=amount(gpu_memory, "--gpu-memory"),
        encoder=encoder,
        events=events,
        negatives=negatives,
        id_length=id_length,
    )
    found = make(config, index_bytes(items, dim) if items >= WORTH else 0)
    seconds = None if no_rates else seconds_per_billion_events(found.encoder, config)
    if json:
        print_json({**asdict(config), **asdict(found), **({"seconds_per_billion_events": seconds} if seconds else {})})
    else:
        print_plan(config, found, seconds)

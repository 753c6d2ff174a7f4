"""Pairs of an event and a recommendation: how many a second, how soon, and against re-encoding with SASRec.

    python speed.py --out work                                # bar 1 in full
    python speed.py --out work --seconds 5 --lengths 200      # a quick look

Prints one JSON object a measurement. Servers and loads run one after another on the same cores.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fixture import make_log, make_run
from process import load, server

GOAL = 900  # pairs a second
SHORT, LONG = 50, 50_000  # events of a history


def show(name: str, report: dict[str, Any]) -> dict[str, Any]:
    requests = {
        kind: {key: found[key] for key in ("p50_ms", "p95_ms", "p99_ms")} for kind, found in report["requests"].items()
    }
    names = ("pairs", "pairs_per_second", "cpu_ms_per_pair", "pairs_per_cpu_second", "refused", "failed")
    print(json.dumps({"what": name} | {key: report[key] for key in names} | requests), flush=True)
    return report


def histories(url: str, rounds: int, items: int) -> dict[str, Any]:
    """Milliseconds of an event and of a recommendation for a user of a short and one of a long history, in turn."""
    draw = np.random.default_rng(0)
    taken: dict[str, tuple[list[float], list[float]]] = {user: ([], []) for user in ("short", "long")}
    with httpx.Client(base_url=url, timeout=600) as client:

        def send(user: str, n: int) -> None:
            now = int(time.time())
            events = [{"user": user, "item": int(item), "time": now} for item in draw.integers(1, items + 1, n)]
            client.post("/events", json={"events": events}).raise_for_status()

        for user, length in (("short", SHORT), ("long", LONG)):
            for first in range(0, length, 1_000):
                send(user, min(1_000, length - first))
        for _ in range(rounds):
            for user, (events, answers) in taken.items():
                began = time.perf_counter()
                send(user, 1)
                middle = time.perf_counter()
                client.get(f"/users/{user}/recommendations?k=20").raise_for_status()
                events.append(middle - began)
                answers.append(time.perf_counter() - middle)

    def quantiles(seconds: list[float]) -> dict[str, float]:
        return {f"p{100 * q:.0f}_ms": round(1000 * float(np.quantile(seconds, q)), 2) for q in (0.1, 0.5, 0.95)}

    return {
        f"history of {length:,}": {"event": quantiles(taken[user][0]), "recommendation": quantiles(taken[user][1])}
        for user, length in (("short", SHORT), ("long", LONG))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.8 * GOAL, help="pairs a second whose latency is measured")
    parser.add_argument("--rounds", type=int, default=500, help="requests of each history")
    parser.add_argument("--lengths", type=int, nargs="*", default=[200, 5_000], help="events that SASRec reads")
    parser.add_argument("--durability", default="batch")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    data = make_log(out / "log", n_items=arguments.items)
    speeds = {}
    for name, timed in (("hydra", False), ("hydra with time", True)):
        run = make_run(out / name.replace(" ", "-"), n_items=arguments.items, time=timed)
        store = out / f"store-{time.time_ns()}"
        with server(*hydrarec_serve(run, store, arguments.durability)) as (url, _, _):
            report = load(data, url, "--clients", arguments.clients, "--seconds", arguments.seconds)
            speeds[name] = show(f"{name}, as fast as it goes", report)
            show(
                f"{name}, {arguments.rate:g} a second",
                load(data, url, "--rate", arguments.rate, "--seconds", arguments.seconds),
            )
            found = histories(url, arguments.rounds, arguments.items)
            print(json.dumps({"what": f"{name}, long and short histories"} | found), flush=True)
    for length in arguments.lengths:
        run = make_run(out / f"sasrec-{length}", n_items=arguments.items, model="sasrec", length=length)
        clients = max(2, min(arguments.clients, 12_800 // length))
        with server(Path(__file__).with_name("reencode.py"), run, "--length", length) as (url, _, _):
            report = load(data, url, "--clients", clients, "--seconds", arguments.seconds)
            show(f"SASRec, {length:,} events encoded at each request", report)
        for name, ours in speeds.items():
            print(
                json.dumps(
                    {
                        "what": f"{name} against SASRec at {length:,}",
                        "times_pairs_per_second": round(ours["pairs_per_second"] / report["pairs_per_second"], 1),
                        "times_pairs_per_cpu_second": round(
                            ours["pairs_per_cpu_second"] / report["pairs_per_cpu_second"], 1
                        ),
                    }
                ),
                flush=True,
            )


def hydrarec_serve(run: Path, store: Path, durability: str) -> list[str | Path]:
    return ["-m", "hydrarec", "serve", run, "--state", store, "--port", "0", "--durability", durability]


if __name__ == "__main__":
    main()

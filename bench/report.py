"""The results as tables on a terminal, as JSON, and as a picture."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import plot, tables
from bench.figures import curve, median
from bench.results import SYSTEMS, Results, Size
from bench.statements import Statement
from bench.targets import TARGETS, sizes_of

_STATEMENTS = 12
_DRAWN = ("floor", "ours", "textbook")
_LABELS = {
    "floor": "floor: bare asyncio loop",
    "ours": "ours",
    "textbook": "textbook Temporal application",
    "engine": "engine's floor: all empty children done",
}


def show(results: Results, console: Console) -> None:
    for table in tables.everything(results):
        console.print()
        console.print(table)


def write(results: Results, folder: Path, machine: str) -> list[Path]:
    """`bench.json`, and `bench.svg` where there are sizes to draw; replaces those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "bench.json"]
    written[0].write_text(json.dumps(_rounded(document(results, machine)), indent=1) + "\n")
    panels = [_panel(size) for size in sizes_of(results) if any(size.of(system) for system in _DRAWN)]
    if panels:
        written.append(folder / "bench.svg")
        subtitle = f"First request of each follower at a local sink; medians of the runs, one machine with {machine}"
        written[-1].write_text(plot.render(panels, subtitle))
    return written


def document(results: Results, machine: str) -> dict[str, Any]:
    """Everything that was measured; times in seconds, sizes in bytes."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "targets": [
            {"measure": t.measure, "limit": t.limit, "at_least": t.at_least, "unit": t.unit.strip(),
             "reached": t.reached(results), "met": t.met(results)}
            for t in TARGETS
        ],
        "sizes": [_size(size) for size in sizes_of(results)],
        "two_orders": asdict(results.two_orders) | {"ratio": results.two_orders.ratio()}
        if results.two_orders else None,
        "steady": asdict(results.steady) if results.steady else None,
    }  # fmt: skip


def _panel(size: Size) -> plot.Panel:
    lines = [
        plot.Line(system, _LABELS[system], points)
        for system in _DRAWN
        if (points := curve([run.arrivals for run in size.of(system)]))
    ]
    empty = median(r.empty_children_s for r in size.rounds)
    levels = [("engine", _LABELS["engine"], empty)] if empty is not None else []
    return plot.Panel(size.followers, lines, levels)


def _size(size: Size) -> dict[str, Any]:
    return {
        "followers": size.followers,
        "runs": [
            {"empty_children_s": r.empty_children_s, "round_trip_s": r.round_trip_s}
            | {system: {**figures, "confirmed": run.confirmed, "settled": run.settled, "sent_twice": run.sent_twice,
                        "lost": size.followers - len(run.arrivals)}
               for system, run in r.runs.items() for figures in [tables.figures_of(run)]}
            for r in size.rounds
        ],
        "curves": {system: curve([run.arrivals for run in size.of(system)]) for system in SYSTEMS if size.of(system)},
        "peak_bytes": size.peak_bytes(),
        "cpu_s": size.cpu_s(),
        "history": asdict(size.usage[-1].history) if size.usage else None,
        "statements": [usage.calls for usage in size.usage],
        "most_expensive": _told(size.usage[-1].statements[:_STATEMENTS]) if size.usage else [],
    }  # fmt: skip


def _rounded(value: Any) -> Any:
    """Microseconds are more than a shared machine can mean."""
    match value:
        case float():
            return round(value, 6)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value


def _told(statements: Iterable[Statement]) -> list[dict[str, Any]]:
    return [{"calls": s.calls, "ms": round(s.ms, 2), "query": s.query[:160]} for s in statements]

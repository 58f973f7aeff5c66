"""The tables of the report, each readable at 100 columns."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from bench.figures import median, median_ratio, percentile
from bench.measure import Run
from bench.results import SYSTEMS, Results, Size
from bench.targets import TARGETS, Target, sizes_of

_MB = 1_000_000
_BLANK = "–"


def everything(results: Results) -> Iterator[Table]:
    """What there is to show, the verdict last."""
    if results.sizes:
        yield latencies(results)
        yield ratios(results)
    if any(size.usage for size in results.sizes.values()):
        yield costs(results)
        yield processes(results)
    if results.two_orders or results.steady:
        yield streams(results)
    yield targets(results)


def figures_of(run: Run) -> dict[str, float]:
    """Seconds after the start, over one run's followers."""
    return {
        "first": run.first,
        "p50": percentile(run.arrivals, 0.5),
        "p99": percentile(run.arrivals, 0.99),
        "last": run.last,
        "spread": run.last - run.first,
    }


def latencies(results: Results) -> Table:
    shown = _table(
        "First request of each follower: seconds after the POST, medians of the runs",
        ("followers", "system", "runs", "first", "p50", "p99", "last", "spread", "all done", "lost", "twice"),
        "floor: bare asyncio loop; engine: an empty child workflow per follower; textbook: four activities in each\n"
        "all done: the last order confirmed and audited in Postgres; of the engine: its last child completed\n"
        "round trip: one workflow that returns at once, by a worker with default settings",
    )
    for size in sizes_of(results):
        for system in SYSTEMS:
            row = _latency(size, system)
            if row:
                shown.add_row(f"{size.followers:,}", system, *row)
        trips = [r.round_trip_s for r in size.rounds if r.round_trip_s is not None]
        if trips:
            shown.add_row(f"{size.followers:,}", "round trip", str(len(trips)), *[_BLANK] * 5, seconds(median(trips)))
        shown.add_section()
    return shown


def _latency(size: Size, system: str) -> Sequence[str] | None:
    runs = size.of(system)
    done = [r.done(system) for r in size.rounds]
    present = sum(value is not None for value in done)
    if system == "engine":
        return (str(present), *[_BLANK] * 5, seconds(median(done)), _BLANK, _BLANK) if present else None
    if not runs:
        return None
    figures = [figures_of(run) for run in runs]
    times = [seconds(median(f[name] for f in figures)) for name in figures[0]]
    wrong = [count(size.lost(system)), count(size.sent_twice(system))]
    return (str(len(runs)), *times, seconds(median(done)), *wrong)


def ratios(results: Results) -> Table:
    shown = _table(
        "Ratios: the median of each run's own ratio, as the systems take turns within a run",
        ("followers", "ours ÷ floor", "textbook ÷ ours", "done ÷ engine", "settled ÷ engine", "settled s"),
        "÷ of the last request; done: ours confirmed and audited; settled: our last child ended too\n"
        "engine: an empty child each completed",
    )
    for size in sizes_of(results):
        settled = [r.runs["ours"].settled if "ours" in r.runs else None for r in size.rounds]
        cells = (
            size.last_ratio("ours", "floor"),
            size.last_ratio("textbook", "ours"),
            median_ratio((r.done("ours"), r.done("engine")) for r in size.rounds),
            median_ratio(zip(settled, (r.done("engine") for r in size.rounds), strict=True)),
        )
        told = [_BLANK if cell is None else f"{cell:.2f}" for cell in cells]
        shown.add_row(f"{size.followers:,}", *told, seconds(median(settled)))
    return shown


def costs(results: Results) -> Table:
    shown = _table(
        "What an order of ours costs: the largest workflow's history, and statements of the application role",
        ("followers", "events", "history kB", "statements", "per follower", "transactions", "Postgres ms"),
        "statements: calls counted by pg_stat_statements, BEGIN and COMMIT included; medians of the runs",
    )
    for size in sizes_of(results):
        if size.usage:
            calls = median(u.calls for u in size.usage) or 0.0
            commits = median(sum(s.calls for s in u.statements if s.query == "COMMIT") for u in size.usage) or 0.0
            spent = median(sum(s.ms for s in u.statements) for u in size.usage) or 0.0
            shown.add_row(
                f"{size.followers:,}",
                f"{max(u.history.events for u in size.usage):,}",
                f"{max(u.history.size_bytes for u in size.usage) / 1_000:,.0f}",
                f"{calls:,.0f}",
                f"{calls / size.followers:,.2f}",
                f"{commits:,.0f}",
                f"{spent:,.0f}",
            )
    return shown


def processes(results: Results) -> Table:
    sizes = [size for size in sizes_of(results) if size.usage]
    heads = [f"{unit} {size.followers:,}" for unit in ("MB", "s") for size in sizes]
    shown = _table(
        "Processes during an order of ours, POST to settled",
        ("process", *heads),
        "MB N: peak resident memory with N followers, sampled every 100 ms; s N: CPU seconds",
    )
    memory, spent = [size.peak_bytes() for size in sizes], [size.cpu_s() for size in sizes]
    for name in dict.fromkeys(name for cpu in spent for name in cpu if not name.startswith("bench-")):
        megabytes = (f"{peak[name] / _MB:,.0f}" if name in peak else _BLANK for peak in memory)
        shown.add_row(name, *megabytes, *(f"{cpu[name]:,.2f}" if name in cpu else _BLANK for cpu in spent))
    return shown


def streams(results: Results) -> Table:
    shown = _table("Several orders", ("scenario", "orders", "figure", "seconds", "lost", "twice"), None)
    if two := results.two_orders:
        label, runs = f"two orders × {two.followers:,}", str(len(two.rounds))
        shown.add_row(label, runs, "second's last request, alone", seconds(median(r.alone_s for r in two.rounds)))
        contested = seconds(median(r.contested_s for r in two.rounds))
        shown.add_row(
            "", runs, "… posted while the first's children run", contested, str(two.lost), str(two.sent_twice)
        )
    if steady := results.steady:
        label, orders = f"1 order/s × {steady.followers:,}", str(steady.orders)
        times = [seconds(percentile(steady.last_s, share)) if steady.last_s else _BLANK for share in (0.5, 0.99)]
        shown.add_row(label, orders, "an order's last request, p50", times[0])
        shown.add_row("", orders, "an order's last request, p99", times[1], str(steady.lost), str(steady.sent_twice))
        shown.add_row("", orders, f"503 answers: {steady.refusals}; not settled: {steady.unsettled}")
    return shown


def targets(results: Results) -> Table:
    shown = _table("Targets", ("measure", "target", "reached", "met"), None)
    for target in TARGETS:
        met = target.met(results)
        mark = "[dim]not measured[/]" if met is None else "[bold green]yes ✔[/]" if met else "[bold red]NO ✘[/]"
        limit = f"{'≥' if target.at_least else '≤'} {target.limit:,g}{target.unit}"
        shown.add_row(target.measure, limit if target.limit else "0", reached(target, results), mark)
    return shown


def reached(target: Target, results: Results) -> str:
    """Three digits, or the whole number where it is one."""
    value = target.reached(results)
    if value is None:
        return _BLANK
    return f"{value:,.0f}{target.unit}" if value == round(value) or value >= 100 else f"{value:.3g}{target.unit}"


def seconds(value: float | None) -> str:
    """To the millisecond below 10 s, to a tenth above 100 s."""
    if value is None:
        return _BLANK
    return f"{value:,.{3 if value < 10 else 2 if value < 100 else 1}f}"


def count(number: int) -> str:
    return "0" if number == 0 else f"[bold red]{number:,}[/]"


def _table(title: str, heads: Sequence[str], caption: str | None) -> Table:
    shown = Table(
        title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left",
        title_style="bold", caption_style="dim", padding=(0, 1),
    )  # fmt: skip
    for number, head in enumerate(heads):
        words = number == 0 or head in {"system", "figure", "met"}
        # Words may wrap, figures must not be cut.
        shown.add_column(head, justify="left" if words else "right", no_wrap=not words, min_width=8 if words else None)
    return shown

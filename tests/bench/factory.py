"""Results as a bench would have measured them."""

from bench.history import History
from bench.measure import Run
from bench.results import Contest, OrderUsage, Results, Round, Size, Steady, TwoOrders
from bench.statements import Statement
from bench.usage import Watched


def run(
    followers: int, last_s: float, *, confirmed: float | None = None, twice: int = 0, settled: float | None = None
) -> Run:
    """Arrivals evenly spread up to `last_s`."""
    return Run([last_s * k / followers for k in range(1, followers + 1)], twice, confirmed, settled)


def usage(*, events: int = 3_000, size_bytes: int = 1_500_000, worker_bytes: int = 300_000_000) -> OrderUsage:
    watched = Watched(
        {"worker-dispatch": worker_bytes, "temporal": 900_000_000}, {"worker-dispatch": 1.5, "bench": 0.1}
    )
    statements = [Statement("COMMIT", 10, 1.0), Statement("SELECT 1", 40, 9.0)]
    return OrderUsage(watched, statements, History(events, size_bytes))


def size(followers: int, *, floor: float, ours: float, textbook: float) -> Size:
    runs = {
        "floor": run(followers, floor),
        "ours": run(followers, ours, confirmed=2 * ours, settled=3.75 * ours),
        "textbook": run(followers, textbook, confirmed=2 * textbook),
    }
    trip = ours if followers == 1 else None
    rounds = [Round(dict(runs), empty_children_s=2.5 * ours, round_trip_s=trip) for _ in range(3)]
    return Size(followers, rounds, [usage()])


def good() -> Results:
    """Everything measured, every target met."""
    sizes = {n: size(n, floor=1.0, ours=1.2, textbook=60.0) for n in (1, 100, 1_000, 10_000)}
    steady = Steady(60, 100, [0.1 * n for n in range(1, 61)], 0, 0, 0, 0)
    return Results(sizes, TwoOrders(1_000, [Contest(1.0, 1.5)]), steady)

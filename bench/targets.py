"""The targets, in one table: what is measured, the limit, and how it is read from the results."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import median_ratio
from bench.results import OrderUsage, Results, Size

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """`reached` gives None where it was not measured. `at_least` turns the limit from a ceiling into a floor."""

    measure: str
    limit: float
    reached: Callable[[Results], float | None]
    unit: str = ""
    at_least: bool = False

    def met(self, results: Results) -> bool | None:
        """None: not measured."""
        value = self.reached(results)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def _last(followers: int, top: str, bottom: str) -> Callable[[Results], float | None]:
    return lambda results: size.last_ratio(top, bottom) if (size := results.sizes.get(followers)) else None


def _first_to_round_trip(results: Results) -> float | None:
    size = results.sizes.get(1)
    if size is None:
        return None
    return median_ratio((r.runs["ours"].first if "ours" in r.runs else None, r.round_trip_s) for r in size.rounds)


def _done_to_engine(results: Results) -> float | None:
    size = results.sizes.get(1_000)
    return median_ratio((r.done("ours"), r.done("engine")) for r in size.rounds) if size else None


def _most(followers: int, figure: Callable[[OrderUsage], float]) -> Callable[[Results], float | None]:
    def reached(results: Results) -> float | None:
        size = results.sizes.get(followers)
        return max((figure(usage) for usage in size.usage), default=None) if size else None

    return reached


def worker_mb(usage: OrderUsage) -> float:
    """The largest single worker process, in MB."""
    return max((n for name, n in usage.watched.peak_bytes.items() if name.startswith("worker")), default=0) / _MB


def _wrong(results: Results) -> float | None:
    return results.steady.lost + results.steady.sent_twice if results.steady else None


def _contest(results: Results) -> float | None:
    return results.two_orders.ratio() if results.two_orders else None


TARGETS = (
    Target("last request of 1,000 followers, ours ÷ floor", 1.5, _last(1_000, "ours", "floor")),
    Target("last request of 10,000 followers, ours ÷ floor", 1.5, _last(10_000, "ours", "floor")),
    Target("last request of 1,000 followers, textbook ÷ ours", 20, _last(1_000, "textbook", "ours"), at_least=True),
    Target("first request after the POST, N = 1, ours ÷ bare workflow round trip", 3, _first_to_round_trip),
    Target("1,000 orders confirmed and audited, ours ÷ 1,000 empty children", 1.6, _done_to_engine),
    Target("second order's last request while the first's children run ÷ alone", 2, _contest),
    Target("largest history at 10,000 followers, events", 4_000, _most(10_000, lambda u: u.history.events), " events"),
    Target("largest history at 10,000 followers, size", 2, _most(10_000, lambda u: u.history.size_bytes / _MB), " MB"),
    Target("largest worker's peak memory at 10,000 followers", 400, _most(10_000, worker_mb), " MB"),
    Target("steady stream: requests lost or sent twice", 0, _wrong),
)


def all_met(results: Results) -> bool:
    """Whether every target was measured and met."""
    return all(target.met(results) for target in TARGETS)


def sizes_of(results: Results) -> list[Size]:
    """By number of followers."""
    return [results.sizes[n] for n in sorted(results.sizes)]

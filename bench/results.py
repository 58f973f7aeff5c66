"""What a bench has measured, before anything is drawn or judged."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.figures import median, median_ratio
from bench.history import History
from bench.measure import Run
from bench.statements import Statement
from bench.usage import Watched

SYSTEMS = ("floor", "ours", "engine", "textbook")


@dataclass(slots=True)
class Round:
    """One pass over the systems, one straight after the other; a system that was not run is absent. Seconds."""

    runs: dict[str, Run] = field(default_factory=dict)
    empty_children_s: float | None = None
    round_trip_s: float | None = None

    def last(self, system: str) -> float | None:
        return self.runs[system].last if system in self.runs else None

    def done(self, system: str) -> float | None:
        """The last order confirmed and audited; for the engine, the last empty child completed."""
        if system == "engine":
            return self.empty_children_s
        return self.runs[system].confirmed if system in self.runs else None


@dataclass(slots=True)
class OrderUsage:
    """What one order of ours cost."""

    watched: Watched
    statements: list[Statement]
    history: History

    @property
    def calls(self) -> int:
        return sum(s.calls for s in self.statements)


@dataclass(slots=True)
class Size:
    """All rounds at one number of followers, with the usage of each order of ours."""

    followers: int
    rounds: list[Round] = field(default_factory=list)
    usage: list[OrderUsage] = field(default_factory=list)

    def of(self, system: str) -> list[Run]:
        return [r.runs[system] for r in self.rounds if system in r.runs]

    def median_of(self, system: str, figure: Callable[[Run], float | None]) -> float | None:
        return median(figure(run) for run in self.of(system))

    def last_ratio(self, top: str, bottom: str) -> float | None:
        return median_ratio((r.last(top), r.last(bottom)) for r in self.rounds)

    def lost(self, system: str) -> int:
        return sum(self.followers - len(run.arrivals) for run in self.of(system))

    def sent_twice(self, system: str) -> int:
        return sum(run.sent_twice for run in self.of(system))

    def peak_bytes(self) -> dict[str, int]:
        """Each component's highest over the rounds."""
        names = dict.fromkeys(name for u in self.usage for name in u.watched.peak_bytes)
        return {name: max(u.watched.peak_bytes.get(name, 0) for u in self.usage) for name in names}

    def cpu_s(self) -> dict[str, float]:
        """Each component's median over the rounds."""
        names = dict.fromkeys(name for u in self.usage for name in u.watched.cpu_s)
        return {name: median(u.watched.cpu_s.get(name) for u in self.usage) or 0.0 for name in names}


@dataclass(frozen=True, slots=True)
class Contest:
    """Seconds from the second order's POST to its last request: on its own, and while another's children run."""

    alone_s: float
    contested_s: float


@dataclass(slots=True)
class TwoOrders:
    followers: int
    rounds: list[Contest] = field(default_factory=list)
    lost: int = 0
    sent_twice: int = 0

    def ratio(self) -> float | None:
        return median_ratio((r.contested_s, r.alone_s) for r in self.rounds)


@dataclass(frozen=True, slots=True)
class Steady:
    """A stream of orders at a fixed rate: `last_s` is each order's own time from its POST to its last request.

    `refusals` are 503 answers, each followed by another POST of the same order.
    """

    orders: int
    followers: int
    last_s: list[float]
    refusals: int
    unsettled: int
    lost: int
    sent_twice: int


@dataclass(slots=True)
class Results:
    sizes: dict[int, Size] = field(default_factory=dict)
    two_orders: TwoOrders | None = None
    steady: Steady | None = None

    def __bool__(self) -> bool:
        """Whether anything has been measured at all."""
        measured = any(r.runs or r.empty_children_s is not None for size in self.sizes.values() for r in size.rounds)
        return measured or bool(self.two_orders and self.two_orders.rounds) or self.steady is not None

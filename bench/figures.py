"""The arithmetic of the report: pure functions over seconds."""

import math
import statistics
from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank, so that it is a value that was really measured. Raises ValueError on no values."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Iterable[float | None]) -> float | None:
    """Of what is there; None of nothing."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def median_ratio(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """The median of each run's own ratio: both systems of a run met the same noise. None of no complete pair."""
    return median(top / bottom for top, bottom in pairs if top is not None and bottom)


def curve(runs: Sequence[Sequence[float]], points: int = 300) -> list[tuple[int, float]]:
    """(k, median over the runs of the k-th arrival), for at most `points` values of k from 1 to the last."""
    common = min((len(run) for run in runs), default=0)
    if not common:
        return []
    steps = min(points, common)
    ranks = {1 + round(step * (common - 1) / max(1, steps - 1)) for step in range(steps)}
    return [(k, statistics.median(run[k - 1] for run in runs)) for k in sorted(ranks)]

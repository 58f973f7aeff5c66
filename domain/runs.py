"""A reconciliation run of a vault: what crosses its workflow's border, and what its pages add up to."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain import execution
from domain.execution import Quality
from domain.sizing import plain

_LISTED = 200
_WORST = 50
_BPS = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """`previous_run_id` is the vault's last run that was done; `alerted` are the followers that it told of."""

    run_id: str
    started_at: datetime
    previous_run_id: str | None = None
    previous_at: datetime | None = None
    alerted: tuple[str, ...] = ()


@dataclass(slots=True)
class Paths:
    """How far followers' results are from their expected ones, in basis points; `worst` are the furthest."""

    followers: int = 0
    off_bps_sum: Decimal = Decimal(0)
    worst: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class RunTotals:
    """Of one page, or of all so far. `causes` counts drifts, `actions` what was done; lists hold the first few."""

    followers: int = 0
    drifts: int = 0
    in_flight: int = 0
    moved: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    unreachable: list[dict[str, str]] = field(default_factory=list)
    alerts: list[dict[str, str]] = field(default_factory=list)
    quality: Quality = field(default_factory=Quality)
    path: Paths = field(default_factory=Paths)

    def summary(self) -> dict[str, Any]:
        """As it is stored: decimals as strings."""
        quality = self.quality
        path, followers = self.path, self.path.followers
        slippage = quality.slippage_bps_sum / quality.priced if quality.priced else None
        return {
            "in_flight": self.in_flight,
            "moved": self.moved,
            "causes": self.causes,
            "actions": self.actions,
            "unreachable": self.unreachable,
            "alerts": self.alerts,
            "path": {
                "followers": followers,
                "mean_off_bps": plain((path.off_bps_sum / followers).quantize(_BPS)) if followers else None,
                "worst": path.worst,
            },
            "orders": {
                "filled": quality.orders,
                "mean_slippage_bps": None if slippage is None else plain(slippage.quantize(_BPS)),
                "mean_latency_ms": round(quality.latency_ms_sum / quality.timed) if quality.timed else None,
                "max_latency_ms": quality.latency_ms_max,
                "worst": [asdict(e) for e in quality.worst],
            },
        }


def measure_path(follower_id: str, bps: Decimal) -> Paths:
    return Paths(1, abs(bps), [{"follower_id": follower_id, "bps": plain(bps)}] if bps else [])


def add(parts: Iterable[RunTotals]) -> RunTotals:
    whole, causes, actions, qualities = RunTotals(), Counter[str](), Counter[str](), list[Quality]()
    for part in parts:
        whole.followers += part.followers
        whole.drifts += part.drifts
        whole.in_flight += part.in_flight
        whole.moved += part.moved
        whole.unreachable = (whole.unreachable + part.unreachable)[:_LISTED]
        whole.alerts = (whole.alerts + part.alerts)[:_LISTED]
        causes.update(part.causes)
        actions.update(part.actions)
        qualities.append(part.quality)
        whole.path.followers += part.path.followers
        whole.path.off_bps_sum += part.path.off_bps_sum
        whole.path.worst = _furthest(whole.path.worst + part.path.worst)
    whole.causes, whole.actions = dict(sorted(causes.items())), dict(sorted(actions.items()))
    whole.quality = execution.merge(qualities)
    return whole


def _furthest(paths: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(paths, key=lambda path: (-abs(Decimal(path["bps"])), path["follower_id"]))[:_WORST]


@dataclass(frozen=True, slots=True)
class Resume:
    """How far a run has come where its history became too long for one execution."""

    after: str = ""
    totals: RunTotals = field(default_factory=RunTotals)


@dataclass(frozen=True, slots=True)
class ReconcileInput:
    """`run_id` is given for a run that somebody asked for; a schedule's derives from its time."""

    tenant_id: str
    vault_id: str
    run_id: str | None = None
    resume: Resume | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """An order for one follower alone; `qty` is signed."""

    tenant_id: str
    vault_id: str
    run_id: str
    follower_id: str
    symbol: str
    qty: Decimal

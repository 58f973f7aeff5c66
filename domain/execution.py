"""How well follower orders were filled: what their price differed by, and how long they took."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from domain.orders import Side

_BPS = Decimal("0.01")
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Execution:
    """One filled order. `slippage_bps` above zero is worse than the manager order's reference price; `latency_ms` is
    from its first send to its last fill."""

    fo_id: str
    follower_id: str
    slippage_bps: Decimal | None
    latency_ms: int | None


@dataclass(slots=True)
class Quality:
    """Orders of one run: sums that can be added up over pages, and the `worst` by slippage."""

    orders: int = 0
    priced: int = 0
    slippage_bps_sum: Decimal = Decimal(0)
    timed: int = 0
    latency_ms_sum: int = 0
    latency_ms_max: int = 0
    worst: list[Execution] = field(default_factory=list)


def slippage_bps(side: Side, reference: Decimal | None, filled_at: Decimal | None) -> Decimal | None:
    """What the fill cost more (a sale: brought less) than the reference price, in its basis points."""
    if reference is None or filled_at is None or reference <= 0:
        return None
    return ((filled_at - reference) / reference * 10_000 * side.sign).quantize(_BPS)


def measure(executions: Iterable[Execution]) -> Quality:
    found = list(executions)
    slipped = [e.slippage_bps for e in found if e.slippage_bps is not None]
    took = [e.latency_ms for e in found if e.latency_ms is not None]
    return Quality(
        orders=len(found),
        priced=len(slipped),
        slippage_bps_sum=sum(slipped, Decimal(0)),
        timed=len(took),
        latency_ms_sum=sum(took),
        latency_ms_max=max(took, default=0),
        worst=_worst(found),
    )


def merge(parts: Iterable[Quality]) -> Quality:
    whole, worst = Quality(), list[Execution]()
    for part in parts:
        whole.orders += part.orders
        whole.priced += part.priced
        whole.slippage_bps_sum += part.slippage_bps_sum
        whole.timed += part.timed
        whole.latency_ms_sum += part.latency_ms_sum
        whole.latency_ms_max = max(whole.latency_ms_max, part.latency_ms_max)
        worst += part.worst
    whole.worst = _worst(worst)
    return whole


def _worst(executions: list[Execution]) -> list[Execution]:
    def key(e: Execution) -> tuple[Decimal, int, str]:
        return -(e.slippage_bps or Decimal(0)), -(e.latency_ms or 0), e.fo_id

    return sorted(executions, key=key)[:_SHOWN]

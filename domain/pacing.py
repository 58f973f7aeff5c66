"""How often a vault may be traded, and whether an order is the last one again (SPEC section 5.1). Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.errors import OrderRefused

RATE_WINDOW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Pace:
    """What the vault was last sent: `recent` are the times of its orders of the last minute, newest first.

    `most_per_minute` is the tighter of the platform's limit and the vault's. `twin` is an earlier order with the same
    symbol, side, quantity, type and limit, still within the window for duplicates, under another idempotency key.
    """

    recent: tuple[datetime, ...] = ()
    most_per_minute: int | None = None
    twin: str | None = None
    window_s: int = 0


def check_rate(pace: Pace) -> None:
    """Raises OrderRefused `message-rate`, which says when the next order passes."""
    most = pace.most_per_minute
    if most is None or len(pace.recent) < most:
        return
    free_at = pace.recent[most - 1] + RATE_WINDOW
    raise OrderRefused(
        "message-rate",
        f"{len(pace.recent)} orders in the last minute, and {most} are allowed; try again at {free_at.isoformat()}. "
        "Reductions pass",
        "vault_id",
    )


def check_duplicate(pace: Pace, *, allowed: bool) -> None:
    """Raises OrderRefused `duplicate-intent` naming the earlier order, unless its author says that both are meant."""
    if pace.twin is None or allowed:
        return
    raise OrderRefused(
        "duplicate-intent",
        f"the same as {pace.twin}, which was placed less than {pace.window_s} s ago under another Idempotency-Key; "
        "set meta.allow_duplicate to true if both are meant",
        "meta.allow_duplicate",
    )

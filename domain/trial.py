"""A test delivery: signed and sent like an order, and nothing that anybody could take for one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

TEST_HEADER = "X-Vanta-Test"
ID_PREFIX = "TEST-"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """`ok`: the endpoint answered 2xx. `re_enabled`: it had been disabled, and this test has ended that.

    `latency_ms` is the whole exchange's; `detail` says what was wrong, at most 500 characters.
    """

    delivery_id: str
    ok: bool
    code: str
    detail: str
    http_status: int | None
    latency_ms: int
    enabled: bool
    re_enabled: bool


def trial_body(follower_id: str, vault_id: str, sent_at: datetime) -> dict[str, Any]:
    """Without symbol, side and quantity, so that a receiver which does not know of tests has nothing to trade on."""
    return {
        "test": True,
        "ts": sent_at.isoformat().replace("+00:00", "Z"),
        "follower_id": follower_id,
        "vault_id": vault_id,
        "message": "A test delivery, no order: verify the signature and answer 2xx.",
    }

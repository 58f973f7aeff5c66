"""How many requests a caller may send: quotas that refill evenly, reckoned by the generic cell rate algorithm (GCRA).

One number is kept per caller and class: the time at which all that he has taken will have flowed back. A quota of q per
w seconds lets q through at once and one more every w/q seconds after that. The script in adapters/limits.py reckons the
same in Redis; a test holds the two equal.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network, ip_address

PLAN_WINDOW_S = 60
# Not even a plan of none locks its tenant out: he must be able to look, and to pay for a bigger one.
PLAN_LEAST = 10


class RouteClass(StrEnum):
    """What of one class is sent takes nothing from another: a flood of reads leaves room for orders and kills."""

    READ = "read"
    WRITE = "write"
    ORDER_ENTRY = "order-entry"
    KILL = "kill"
    AUTH = "auth"
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class Quota:
    """`limit` requests, flowing back within `window_s` seconds."""

    limit: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is counted together: `name` is told to callers, `key` is where it is kept."""

    name: str
    key: str
    quota: Quota


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one route class. `tenant`: of all its users together; `user`: of one of them, or of one network address."""

    user: Quota
    tenant: Quota | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one bucket after a request: whether it had room, what is left, and seconds until it is full again.

    `retry_after_s`: until it has room for one more; 0 where it has.
    """

    bucket: Bucket
    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float


def of_caller(
    route_class: RouteClass, rates: Rates, tenant_id: str, actor: str, *, tenant_limit: int | None = None
) -> list[Bucket]:
    """`tenant_limit`: what the tenant's plan allows per minute in place of the platform's own limit."""
    # In braces: what one script takes from must lie on one node of a cluster.
    key = f"vanta:limit:{{{tenant_id}}}:{route_class}"
    users = Bucket(f"{route_class}-user", f"{key}:{actor}", rates.user)
    if rates.tenant is None:
        return [users]
    quota = rates.tenant if tenant_limit is None else Quota(max(PLAN_LEAST, tenant_limit), PLAN_WINDOW_S)
    return [Bucket(f"{route_class}-tenant", key, quota), users]


def of_address(route_class: RouteClass, rates: Rates, address: str) -> list[Bucket]:
    """Of a caller who has no name yet."""
    return [Bucket(f"{route_class}-address", f"vanta:limit:{{{_network(address)}}}:{route_class}", rates.user)]


def _network(address: str) -> str:
    """One home or server has a whole /64 of IPv6 addresses, and must not have a quota with each of them."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False).network_address)
    return str(found)


def standing(bucket: Bucket, back_at: float | None, now: float) -> tuple[Standing, float]:
    """What one more request finds, and when all would have flowed back if it were let in; times in seconds."""
    step = bucket.quota.window_s / bucket.quota.limit
    started = max(back_at or now, now)
    after = started + step
    # Half a step more, as sums of floats are never exactly the window.
    over = after - now - bucket.quota.window_s - step / 2
    if over > 0:
        return Standing(bucket, allowed=False, remaining=0, reset_s=started - now, retry_after_s=over + step / 2), after
    left = math.floor((bucket.quota.window_s - (after - now)) / step + 0.5)
    return Standing(bucket, allowed=True, remaining=left, reset_s=after - now, retry_after_s=0.0), after


@dataclass
class LocalLimits:
    """The same within one process, for when Redis is away. `most`: callers remembered; the longest unseen go first."""

    clock: Callable[[], float]
    most: int = 10_000
    _kept: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def take(self, buckets: Sequence[Bucket]) -> list[Standing]:
        """Takes from all of the buckets, or, where one of them has no room, from none."""
        now = self.clock()
        found = [standing(bucket, self._kept.get(bucket.key), now) for bucket in buckets]
        if all(one.allowed for one, _ in found):
            for one, after in found:
                self._kept[one.bucket.key] = after
                self._kept.move_to_end(one.bucket.key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return [one for one, _ in found]

"""Quotas that refill evenly."""

from hypothesis import given
from hypothesis import strategies as st

from domain.rate_limits import Bucket, LocalLimits, Quota, Rates, RouteClass, of_address, of_caller


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _bucket(limit: int, window_s: int = 60, key: str = "k") -> Bucket:
    return Bucket("read-user", key, Quota(limit, window_s))


def test_a_quota_goes_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    limits = LocalLimits(clock)
    left = [limits.take([_bucket(6)])[0].remaining for _ in range(6)]
    assert left == [5, 4, 3, 2, 1, 0]
    refused = limits.take([_bucket(6)])[0]
    assert (refused.allowed, refused.remaining, refused.reset_s) == (False, 0, 60)
    assert refused.retry_after_s == 10
    clock.now += 10
    assert limits.take([_bucket(6)])[0].allowed
    assert not limits.take([_bucket(6)])[0].allowed
    clock.now += 60
    assert limits.take([_bucket(6)])[0].remaining == 5


def test_a_refusal_by_one_bucket_takes_nothing_from_the_other() -> None:
    limits = LocalLimits(Clock())
    both = [_bucket(10, key="tenant"), _bucket(1, key="user")]
    assert all(found.allowed for found in limits.take(both))
    for _ in range(20):
        tenant, user = limits.take(both)
        assert (tenant.allowed, user.allowed) == (True, False)
    assert limits.take([_bucket(10, key="tenant")])[0].remaining == 8


@given(
    limit=st.integers(1, 1_000),
    window=st.integers(1, 3_600),
    waits=st.lists(st.floats(0, 100), min_size=1, max_size=60),
)
def test_never_more_than_the_quota_and_what_has_flowed_back(limit: int, window: int, waits: list[float]) -> None:
    clock = Clock()
    limits, started, taken = LocalLimits(clock), clock.now, 0
    for wait in waits:
        clock.now += wait
        found = limits.take([_bucket(limit, window)])[0]
        taken += found.allowed
        assert 0 <= found.remaining < limit
        assert taken <= limit + (clock.now - started) * limit / window + 1
        assert found.allowed == (found.retry_after_s == 0)


def test_callers_beyond_the_memory_are_forgotten_oldest_first() -> None:
    limits = LocalLimits(Clock(), most=2)
    for key in "abc":
        limits.take([_bucket(1, key=key)])
    assert limits.take([_bucket(1, key="a")])[0].allowed
    assert not limits.take([_bucket(1, key="c")])[0].allowed


def test_a_tenants_own_limit_takes_the_place_of_the_platforms() -> None:
    rates = Rates(Quota(5, 3_600), Quota(50, 3_600))
    tenant, user = of_caller(RouteClass.READ, rates, "t", "user:bob", tenant_limit=17)
    assert (tenant.quota, user.quota) == (Quota(17, 60), Quota(5, 3_600))
    assert {tenant.name, user.name} == {"read-tenant", "read-user"}


def test_a_plan_of_none_leaves_enough_to_look_and_to_pay() -> None:
    rates = Rates(Quota(5, 60), Quota(50, 60))
    assert of_caller(RouteClass.READ, rates, "t", "user:bob", tenant_limit=0)[0].quota == Quota(10, 60)


def test_addresses_of_one_ipv6_network_share_a_quota() -> None:
    def key(address: str) -> str:
        return of_address(RouteClass.AUTH, Rates(Quota(1, 1)), address)[0].key

    assert key("2001:db8::1") == key("2001:db8::ffff:0:1") != key("2001:db8:0:1::1")
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") != key("192.0.2.2")
    assert key("") == key("not an address")

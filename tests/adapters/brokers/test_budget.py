"""Requests that an account may still make, learned from answers; one account's trouble is nobody else's."""

import pytest

from adapters.brokers.budget import Allowance, Budgets, allowance
from tests.adapters.brokers.harness import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_account_that_nothing_is_known_of_may_ask(clock: Clock):
    assert Budgets(clock).wait("A", order=True) == 0


def test_a_used_up_account_waits_for_its_window_and_others_do_not(clock: Clock):
    budgets = Budgets(clock)
    budgets.learn("A", Allowance(200, 0, 42))
    assert budgets.wait("A", order=True) == 42
    assert budgets.wait("B", order=True) == 0
    clock.advance(42)
    assert budgets.wait("A", order=True) == 0


def test_requests_that_are_under_way_count_before_they_are_answered(clock: Clock):
    budgets = Budgets(clock)
    budgets.learn("A", Allowance(200, 3, 60))
    assert [budgets.wait("A", order=True) for _ in range(4)] == [0, 0, 0, 60]


def test_reads_leave_a_reserve_for_orders(clock: Clock):
    budgets = Budgets(clock)
    budgets.learn("A", Allowance(200, 21, 60))
    assert budgets.wait("A", order=False) == 0
    assert budgets.wait("A", order=False) == 60  # twenty are left
    assert budgets.wait("A", order=True) == 0


def test_an_answer_that_was_overtaken_gives_nothing_back(clock: Clock):
    budgets = Budgets(clock)
    budgets.learn("A", Allowance(200, 1, 30))
    budgets.learn("A", Allowance(200, 5, 30.5))
    assert [budgets.wait("A", order=True) for _ in range(2)] == [0, 30.5]
    clock.advance(31)
    budgets.learn("A", Allowance(200, 199, 60))
    assert budgets.wait("A", order=False) == 0


def test_too_many_requests_close_the_account_for_as_long_as_was_asked(clock: Clock):
    budgets = Budgets(clock)
    budgets.close("A", 7)
    budgets.close("A", 3)
    assert budgets.wait("A", order=True) == 7
    clock.advance(7)
    assert budgets.wait("A", order=True) == 0


def test_no_answer_closes_an_account_for_more_than_an_hour(clock: Clock):
    budgets = Budgets(clock)
    budgets.close("A", 10**9)
    budgets.learn("B", Allowance(1, 0, 10**9))
    assert (budgets.wait("A", order=True), budgets.wait("B", order=True)) == (3_600, 3_600)


def test_the_accounts_longest_unheard_of_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("adapters.brokers.budget._MAX_ACCOUNTS", 2)
    budgets = Budgets(clock)
    for account in "ABAC":
        budgets.learn(account, Allowance(1, 0, 60))
    assert [budgets.wait(account, order=True) for account in "ABC"] == [60, 0, 60]


NAMES = ("X-Ratelimit-Allowed", "X-Ratelimit-Available", "X-Ratelimit-Expiry")


@pytest.mark.parametrize("reset", ["1700000030000", "1700000030", "30"])
def test_an_allowance_is_read_from_a_venues_headers(reset: str):
    headers = {"X-Ratelimit-Allowed": "60", "X-Ratelimit-Available": "59", "X-Ratelimit-Expiry": reset}
    assert allowance(headers, NAMES, now=1_700_000_000) == Allowance(60, 59, 30)


@pytest.mark.parametrize("wrong", ["", "-1", "many", "9" * 16])
def test_headers_that_are_missing_or_no_numbers_say_nothing(wrong: str):
    headers = {"X-Ratelimit-Allowed": "60", "X-Ratelimit-Available": wrong, "X-Ratelimit-Expiry": "1700000030"}
    assert allowance(headers, NAMES, now=1_700_000_000) is None

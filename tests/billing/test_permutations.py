"""Six events in every order, late and twice, end in what the order in which they happened gives.

720 orders, each seven times with delays and repeats drawn anew from a seed: 5,040 runs for each life.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.billing import Account, SubscriptionState
from tests.billing.lives import CORE, PRO, Life, Runner, bitcoin_life, payments_that_count, stripe_life, summary

REPEATS = 7
DELAYS = (timedelta(0), timedelta(seconds=90), timedelta(minutes=40), timedelta(days=2))
LIVES = {
    "stripe, canceled": lambda: stripe_life(ends_canceled=True),
    "stripe, refunded": lambda: stripe_life(ends_canceled=False),
    "bitcoin": bitcoin_life,
}


def deliveries(life: Life, order: Sequence[int], dice: random.Random) -> list[tuple[datetime, int]]:
    """When which event is heard: none before it has happened, each at least once."""
    heard: list[tuple[datetime, int]] = []
    at = life.times[0]
    for number in order:
        at = max(at, life.times[number]) + dice.choice(DELAYS)
        heard.append((at, number))
        if dice.random() < 0.3:
            heard.append((at + dice.choice(DELAYS), dice.choice([n for _, n in heard])))
            at = heard[-1][0]
    return [(min(at, life.ends), number) for at, number in heard]


def runs(life: Life) -> Iterator[list[tuple[datetime, int]]]:
    for repeat in range(REPEATS):
        dice = random.Random(repeat)
        for order in itertools.permutations(range(6)):
            yield deliveries(life, order, dice)


async def in_order(life: Life) -> Account:
    return await Runner(life).run(list(life.times))


@pytest.mark.parametrize("name", LIVES)
async def test_every_order_ends_in_what_the_true_order_gives(name: str) -> None:
    life = LIVES[name]()
    expected, runner, number = summary(await in_order(life)), Runner(life), 0
    for heard in runs(life):
        number += 1
        found = await runner.run([at for at, _ in heard])
        assert summary(found) == expected, heard
        assert all(count in {0, 1} for count in payments_that_count(found).values()), heard
    assert number == 5_040
    assert runner.looks > 200  # different ones: the runs are not all the same


async def test_what_the_true_order_gives_is_what_was_paid_for() -> None:
    """The expectation itself, so that not everything is equally wrong."""
    canceled, refunded, bitcoin = [await in_order(life()) for life in LIVES.values()]
    assert canceled.subscription.status is SubscriptionState.CANCELED
    assert canceled.subscription.close_only
    assert refunded.subscription.status is SubscriptionState.ACTIVE
    assert not refunded.subscription.close_only
    assert refunded.plan == PRO
    assert [i.refunded_minor for i in refunded.invoices if i.provider_ref == "in_3"] == [5_000]
    assert sum(i.paid_minor for i in refunded.invoices) == CORE.price_minor + 12_000 + PRO.price_minor
    assert bitcoin.subscription.status is SubscriptionState.ACTIVE
    assert bitcoin.balance_minor == 1_000
    assert payments_that_count(bitcoin) == {"btc_1/a": 0, "btc_1/b": 1, "btc_1/c": 1}


async def test_on_the_way_the_true_order_loses_access_and_gets_it_back() -> None:
    """The lives are no trivial ones."""
    life = stripe_life(ends_canceled=False)
    seen = [(await Runner(life).run([t for t in life.times if t <= until])) for until in life.times]
    assert len({account.subscription.status for account in seen}) == 1  # each looks on until the end
    runner, at, access = Runner(life), None, []
    moment = await runner.look(runner.begun(), life.times[0])
    for at in life.times[1:]:
        while moment.view is not None and moment.view.next is not None and moment.view.next.at <= at:
            moment = await runner.look(moment, moment.view.next.at)
            access.append(moment.account.subscription.close_only)
        moment = await runner.look(moment, at)
        access.append(moment.account.subscription.close_only)
    assert [value for value, _ in itertools.groupby(access)] == [False, True, False]


class Believer:
    """What must not be done: takes what the last event said for what is true."""

    SAYS: tuple[dict[str, Any], ...] = (
        {"status": "trialing"}, {"status": "active", "paid": CORE.price_minor}, {"plan": "pro", "paid": 12_000},
        {"status": "past_due"}, {"status": "active", "paid": PRO.price_minor}, {"refunded": 5_000},
    )  # fmt: skip

    @classmethod
    def run(cls, heard: list[tuple[datetime, int]]) -> dict[str, Any]:
        found: dict[str, Any] = {"status": "incomplete", "plan": "core", "paid": 0, "refunded": 0}
        for _, number in heard:
            said = cls.SAYS[number]
            sums: dict[str, Any] = {name: found[name] + said[name] for name in ("paid", "refunded") if name in said}
            found = {**found, **said, **sums}
        return found


def test_a_reducer_that_believes_events_is_found_out() -> None:
    """The check can fail, and fails of most orders."""
    life = stripe_life(ends_canceled=False)
    expected = Believer.run([(at, number) for number, at in enumerate(life.times)])
    wrong = sum(Believer.run(heard) != expected for heard in runs(life))
    assert wrong > 2_500


async def test_a_reading_that_is_not_read_anew_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same harness and the same code, but a server that answers with what was true when it was first asked."""
    life = stripe_life(ends_canceled=False)
    expected = summary(await in_order(life))
    real = type(life.server).at
    monkeypatch.setattr(type(life.server), "at", lambda self, now, state: real(self, life.times[0], state))
    assert summary(await Runner(life).run(list(life.times))) != expected

import pytest

from bench.results import OrderUsage, Results
from bench.targets import TARGETS, Target, all_met
from tests.bench import factory


def verdicts(results: Results) -> dict[str, bool | None]:
    return {target.measure: target.met(results) for target in TARGETS}


def named(words: str) -> Target:
    (target,) = [t for t in TARGETS if words in t.measure]
    return target


def test_good_results_meet_every_target():
    assert set(verdicts(factory.good()).values()) == {True}
    assert all_met(factory.good())


def test_nothing_measured_is_neither_met_nor_missed_but_not_enough_to_be_strict():
    assert set(verdicts(Results()).values()) == {None}
    assert not all_met(Results())


def test_slow_large_orders_miss_their_own_target_only():
    results = factory.good()
    results.sizes[10_000] = factory.size(10_000, floor=1.0, ours=1.6, textbook=60.0)
    assert [measure for measure, met in verdicts(results).items() if met is False] == [
        "last request of 10,000 followers, ours ÷ floor"
    ]
    assert not all_met(results)


def test_the_textbook_must_be_at_least_twenty_times_as_slow():
    results = factory.good()
    results.sizes[1_000] = factory.size(1_000, floor=1.0, ours=1.2, textbook=23.0)
    target = named("textbook ÷ ours")
    assert target.reached(results) == pytest.approx(23 / 1.2)
    assert target.met(results) is False


def test_the_first_request_is_held_against_the_bare_round_trip_of_its_run():
    results = factory.good()
    for round_ in results.sizes[1].rounds:
        round_.round_trip_s = 0.3
    assert named("N = 1").reached(results) == pytest.approx(4.0)
    assert named("N = 1").met(results) is False


def test_confirmation_is_held_against_empty_children():
    assert named("confirmed and audited").reached(factory.good()) == pytest.approx(2 / 2.5)


def test_orders_that_were_not_all_confirmed_give_no_ratio():
    results = factory.good()
    for round_ in results.sizes[1_000].rounds:
        round_.runs["ours"] = factory.run(1_000, 1.2, confirmed=None)
    assert named("confirmed and audited").met(results) is None


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("events", factory.usage(events=4_001)),
        ("size", factory.usage(size_bytes=2_000_001)),
        ("memory", factory.usage(worker_bytes=400_000_001)),
    ],
)
def test_the_worst_run_counts_for_what_an_order_uses(words: str, usage: OrderUsage):
    results = factory.good()
    results.sizes[10_000].usage = [factory.usage(), usage, factory.usage()]
    assert named(words).met(results) is False


def test_servers_do_not_count_as_workers():
    assert named("memory").reached(factory.good()) == 300


@pytest.mark.parametrize(("lost", "twice"), [(1, 0), (0, 1)])
def test_one_request_lost_or_sent_twice_in_the_stream_is_too_much(lost: int, twice: int):
    results = factory.good()
    steady = results.steady
    assert steady is not None
    results.steady = type(steady)(60, 100, steady.last_s, 0, 0, lost, twice)
    assert named("steady").met(results) is False

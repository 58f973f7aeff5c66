from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import curve, median, median_ratio, percentile

times = st.floats(0, 1_000)


def test_a_percentile_is_the_nearest_rank():
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100


def test_a_percentile_of_one_value_is_that_value():
    assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0


def test_a_percentile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(times, min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_was_measured_and_covers_its_share(values: list[float], share: float):
    found = percentile(values, share)
    assert found in values
    assert sum(v <= found for v in values) >= share * len(values) - 1e-9


def test_a_median_leaves_out_what_was_not_measured():
    assert median([3.0, None, 1.0, 2.0]) == 2.0
    assert median([None]) is None


def test_the_ratio_is_the_median_of_the_ratios_not_the_ratio_of_the_medians():
    pairs = [(10.0, 1.0), (20.0, 10.0), (90.0, 30.0)]
    assert median_ratio(pairs) == 3.0  # of 10, 2 and 3; the medians would give 20 ÷ 10


def test_a_ratio_needs_both_systems_in_the_same_run():
    assert median_ratio([(None, 1.0), (4.0, 2.0), (9.0, None), (5.0, 0.0)]) == 2.0
    assert median_ratio([(1.0, None)]) is None


def test_a_curve_takes_the_median_of_each_rank():
    assert curve([[1.0, 2.0], [3.0, 8.0], [2.0, 4.0]]) == [(1, 2.0), (2, 4.0)]


def test_a_curve_has_the_first_and_the_last_follower_and_is_bounded():
    points = curve([[float(k) for k in range(1, 10_001)]], points=300)
    assert points[0] == (1, 1.0)
    assert points[-1] == (10_000, 10_000.0)
    assert 250 < len(points) <= 300


def test_a_curve_ends_where_the_run_that_lost_most_ends():
    assert curve([[1.0, 2.0, 3.0], [1.0, 2.0]])[-1] == (2, 2.0)


def test_there_is_no_curve_of_nothing():
    assert curve([]) == curve([[]]) == []


@given(st.lists(st.lists(times, min_size=3, max_size=60).map(sorted), min_size=1, max_size=4))
def test_a_curve_never_falls(runs: list[list[float]]):
    points = curve(runs, points=20)
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(points))

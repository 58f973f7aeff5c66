import os
from pathlib import Path

import pytest

from bench.usage import cpu_seconds, resident_bytes, tree

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path: Path):
    """1 has the threads 1 and 11; its children are 2 and 3; 2's child is 4."""
    for path, text in {
        "1/task/1/children": "2 ", "1/task/11/children": "3 ", "2/task/2/children": "4 ", "3/task/3/children": "",
        "4/task/4/children": "",
        "1/statm": "900 100 60 1 0 1 0", "2/statm": "900 50 40 1 0 1 0", "3/statm": "900 70 65 1 0 1 0",
        "1/stat": f"1 (a (strange) name) S 0 1 1 0 -1 0 0 0 0 0 {3 * TICKS} {TICKS} {5 * TICKS} {TICKS} 20 0",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def test_a_tree_has_the_children_of_all_threads_and_theirs(proc: Path):
    assert sorted(tree(1, proc)) == [1, 2, 3, 4]


def test_a_process_that_has_ended_is_a_tree_of_itself(proc: Path):
    assert tree(99, proc) == [99]


def test_one_process_counts_all_of_its_resident_pages(proc: Path):
    assert resident_bytes([1], proc) == 100 * PAGE


def test_pages_that_a_family_shares_count_once(proc: Path):
    assert resident_bytes([1, 2, 3], proc) == (40 + 10 + 5 + 65) * PAGE


def test_what_has_ended_has_no_memory_and_no_time(proc: Path):
    assert resident_bytes([99], proc) == 0
    assert cpu_seconds(99, proc) == 0


def test_cpu_time_is_user_and_system_of_the_process_and_its_ended_children(proc: Path):
    assert cpu_seconds(1, proc) == 10


def test_our_own_process_has_memory_and_time():
    assert resident_bytes([os.getpid()]) > 1_000_000
    assert cpu_seconds(os.getpid()) > 0

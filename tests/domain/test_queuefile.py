import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.queuefile import MAX_ENTRY, Entry, parse

_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
_values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _text
_objects = st.dictionaries(_text, _values | st.lists(_values, max_size=3), max_size=4)
_ids = st.text(alphabet="abc0-", min_size=1, max_size=6)
_entries = st.lists(st.builds(lambda o, i: {**o, "id": i}, _objects, _ids) | _objects.filter(lambda o: "id" not in o))
_files = st.builds(
    lambda items, ascii_, lines, end: (
        "\n".join(json.dumps(i, ensure_ascii=ascii_) for i in items) + end * bool(items)
        if lines
        else json.dumps(items, ensure_ascii=ascii_, indent=1) + end
    ),
    _entries, st.booleans(), st.booleans(), st.sampled_from(["", "\n"]),
)  # fmt: skip


def _seen(entries: list[Entry]) -> list[tuple[str, dict[str, Any], str | None]]:
    return [(e.key, e.fields, e.fault) for e in entries]


@given(_files, st.data())
def test_a_prefix_of_a_file_yields_a_prefix_of_its_entries(text: str, data: st.DataObject):
    whole = _seen(parse(text))
    cut = data.draw(st.integers(0, len(text)))
    part = _seen(parse(text[:cut]))
    assert part == whole[: len(part)]


@given(_entries)
def test_lines_and_array_give_the_same_entries(items: list[dict[str, Any]]):
    lines = "".join(json.dumps(item) + "\n" for item in items)
    assert _seen(parse(lines)) == _seen(parse(json.dumps(items)))
    assert [e.fields for e in parse(lines)] == [{k: v for k, v in i.items() if k != "id"} for i in items]


@given(st.text())
def test_no_text_breaks_the_reading(text: str):
    for entry in parse(text):
        assert entry.key
        assert (entry.fault is None) or not entry.fields


def test_an_array_without_its_end_yields_nothing():
    assert parse('[{"id":"a"},{"id":"b"}') == []


@pytest.mark.parametrize("text", ["", " \n\n ", "[]", "[ ]\n"])
def test_an_empty_file_has_no_entries(text: str):
    assert parse(text) == []


def test_a_last_line_without_its_end_waits_unless_it_is_whole():
    assert [e.key for e in parse('{"id":"a"}\n{"id":"b"')] == ["a"]
    assert [e.key for e in parse('{"id":"a"}\n{"id":"b"}')] == ["a", "b"]


def test_a_broken_line_in_the_middle_costs_itself_only():
    first, broken, last = parse('{"id":"a"}\r\n{"id":\r\n\r\n{"id":"b"}\r\n')
    assert (first.key, last.key) == ("a", "b")
    assert broken.fault is not None
    assert broken.raw == '{"id":'


def test_an_entry_without_id_is_known_by_its_content():
    one, two, other = parse('{"a":1,"b":2}\n{"b": 2, "a": 1}\n{"a":1,"b":3}\n')
    assert one.key == two.key != other.key


def test_numbers_are_exact():
    [entry] = parse('{"id":"a","qty":0.10,"n":12345678901234567890,"i":7}\n')
    assert entry.fields == {"qty": Decimal("0.10"), "n": Decimal(12345678901234567890), "i": 7}
    assert str(entry.fields["qty"]) == "0.10"


POISON = {
    "NaN": '{"id":"x","qty":NaN}',
    "Infinity": '{"id":"x","qty":-Infinity}',
    "an exponent beyond Decimal's": '{"id":"x","qty":1e9999999999999999999}',
    "a number of 5,000 digits": f'{{"id":"x","qty":{"1" * 5_000}}}',
    "NUL in a text": '{"id":"x","note":"\\u0000"}',
    "NUL in a name": '{"id":"x","\\u0000":1}',
    "half a surrogate pair": '{"id":"x","meta":{"note":["\\ud800"]}}',
    "nesting": f'{{"id":"x","meta":{"[" * 40}{"]" * 40}}}',
    "a number": "5",
    "a list": '["a"]',
    "null": "null",
    "an id that is a number": '{"id":5}',
    "an id that is too long": f'{{"id":"{"x" * 201}"}}',
    "an id that is empty": '{"id":""}',
    "an id that does not print": '{"id":"a\\u0007"}',
}


@pytest.mark.parametrize("text", POISON.values(), ids=POISON)
def test_a_poisonous_entry_costs_itself_only_in_an_array(text: str):
    good = '{"id":"a","qty":1}'
    keys = [(e.key, e.fault is None) for e in parse(f"[{good},{text},{good}]")]
    assert [keys[0], keys[2]] == [("a", True), ("a", True)]
    assert not keys[1][1]


@pytest.mark.parametrize("text", [*POISON.values(), "[" * 60_000, "x" * (MAX_ENTRY + 1)], ids=[*POISON, "deep", "long"])
def test_a_poisonous_entry_costs_itself_only_between_lines(text: str):
    first, poison, last = parse(f'{{"id":"a"}}\n{text}\n{{"id":"b"}}\n')
    assert (first.key, last.key) == ("a", "b")
    assert poison.fault is not None
    assert len(poison.raw) <= MAX_ENTRY
    assert len(poison.key) == 64


@pytest.mark.parametrize(
    "text",
    ['{"qty": "1", "side": "buy", "qty": "2"}\n', '[{"qty": "1", "meta": {"a": 1, "a": 2}}]'],
    ids=["line", "array"],
)
def test_a_field_that_stands_twice_costs_the_entry_and_is_named(text: str):
    [entry] = parse(text)
    assert entry.fault in {"has the field qty twice", "has the field a twice"}
    assert entry.fields == {}

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids

CLIENT_ID = re.compile(r"[A-Za-z0-9-]{1,48}")
words = st.text(max_size=60)
# Words whose concatenations coincide: the classic way for two requests to become one order.
TRICKY = ["", "a", "aa", "ab", "b", "0", "00", "a0", "1", "a1", "/", "a/", "\x00", "a\x00"]


@given(words, words)
def test_an_order_id_is_a_legal_client_order_id_at_every_broker(first: str, second: str):
    for made in (ids.manager_order_id(first, second), ids.follower_order_id(first, second)):
        assert CLIENT_ID.fullmatch(made)
        assert ids.is_readable_id(made)
    assert ids.MAX_CLIENT_ORDER_ID == 48


def test_different_requests_have_different_orders():
    pairs = list(product(TRICKY, TRICKY))
    assert len({ids.manager_order_id(t, k) for t, k in pairs}) == len(pairs)
    legs = [(mo, f, leg) for mo, f in pairs for leg in (0, 1, 10, 11)]
    assert len({ids.follower_order_id(*one) for one in legs}) == len(legs)


@given(st.lists(st.tuples(words, words), unique=True, max_size=50))
def test_ids_are_injective_on_any_sample(pairs: list[tuple[str, str]]):
    assert len({ids.manager_order_id(t, k) for t, k in pairs}) == len(pairs)


def test_an_id_is_the_same_in_every_process_and_version():
    assert ids.manager_order_id("t", "k") == "M-OKMD5VZ2FNBBCOKRAJGPXOD6N3"
    assert ids.follower_order_id("M-1", "F_1") == "FO-5KOHBIPWUOFQBKBEO7EGMACUFQ"


def test_kinds_of_ids_never_meet():
    assert ids.manager_order_id("a", "b").startswith("M-")
    assert ids.follower_order_id("a", "b").startswith("FO-")
    assert ids.webhook_key_ref("F_1") == "whk/F_1"


@given(words, words)
def test_vaults_and_followers_get_readable_ids_whatever_their_label(label: str, key: str):
    vault, follower = ids.vault_id("t", label, key), ids.follower_id("t", label, key)
    assert ids.is_readable_id(vault)
    assert ids.is_readable_id(follower)
    assert vault.startswith("V_")
    assert follower.startswith("F_")


def test_a_label_shows_in_the_id():
    assert ids.vault_id("t", "Long/Short  Équité!", "k").startswith("V_long-short-quit_")


@pytest.mark.parametrize("value", ["", "a b", "a/b", "é", "x" * 65, "a\n", "a.b"])
def test_what_is_no_readable_id_is_refused(value: str):
    assert not ids.is_readable_id(value)

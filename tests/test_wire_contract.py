"""The recipe that docs/wire-contract.md gives to followers' developers accepts our requests and nothing else."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from domain import signing
from domain.trial import ID_PREFIX, TEST_HEADER, trial_body
from stack.files import ROOT

KEY = b"k" * 32
SECRET = signing.format_secret(KEY)
BODY = b'{"qty_str": "5"}'


@pytest.fixture(scope="module")
def is_authentic() -> Callable[[str, dict[str, str], bytes], bool]:
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "wire-contract.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    names: dict[str, Callable[[str, dict[str, str], bytes], bool]] = {}
    exec(compile(found.group(1), "wire-contract.md", "exec"), names)
    return names["is_authentic"]


def sent(keys: list[bytes], at: int) -> dict[str, str]:
    return {name.lower(): value for name, value in signing.headers(keys, "FO-1", at, BODY).items()}


def test_the_recipe_accepts_what_we_send(is_authentic: Callable[..., bool]):
    assert is_authentic(SECRET, sent([KEY], int(time.time())), BODY)


def test_the_recipe_accepts_either_key_while_one_rotates(is_authentic: Callable[..., bool]):
    assert is_authentic(SECRET, sent([b"n" * 32, KEY], int(time.time())), BODY)


def test_the_recipe_refuses_another_body_another_key_and_an_old_request(is_authentic: Callable[..., bool]):
    now = int(time.time())
    assert not is_authentic(SECRET, sent([KEY], now), BODY + b" ")
    assert not is_authentic(SECRET, sent([b"n" * 32], now), BODY)
    assert not is_authentic(SECRET, sent([KEY], now - 301), BODY)


def test_the_test_delivery_of_the_document_is_the_one_that_we_send():
    text = (ROOT / "docs" / "wire-contract.md").read_text("utf-8")
    found = re.search(r"### Test deliveries.*?```json\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    at = datetime(2026, 1, 5, 14, 30, 0, 123456, UTC)
    assert json.loads(found.group(1)) == trial_body("F_bob_7hq2m4zt", "V_alpha_k3v9q2xd", at)
    assert ID_PREFIX in text
    assert TEST_HEADER in text

"""The recipe that docs/wire-contract.md gives to followers' developers accepts our requests and nothing else."""

import re
import time
from collections.abc import Callable

import pytest

from domain import signing
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

"""How many requests an account may still make, learned from what its venue says with every answer.

Each account has a budget of its own: one that has used its up is told to wait before anything is sent, so that it costs
neither a connection nor anybody else's time. Reads leave a reserve for orders and cancels: following an order must not
keep the next one from being placed.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_MAX_ACCOUNTS = 20_000
_RESERVE = 10  # one in so many requests of a window is kept for orders and cancels
_LONGEST_S = 3_600.0
_EPOCH_S = 1_000_000_000  # 2001: a reset below it is a number of seconds


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an answer said: `remaining` requests of `limit` until `resets_in_s` from now (seconds)."""

    limit: int
    remaining: int
    resets_in_s: float


@dataclass(slots=True)
class _Account:
    limit: int = 0
    remaining: int = 0
    resets_at: float = float("-inf")  # until then the numbers hold; afterwards nothing is known
    closed_until: float = float("-inf")


class Budgets:
    """By account. `clock` is in monotonic seconds. The accounts longest unheard of are forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def wait(self, account: str, *, order: bool) -> float:
        """Take one request from the account's budget: 0, or in how many seconds to ask again, with nothing taken.

        `order`: placing or cancelling, which may use the reserve.
        """
        known = self._accounts.get(account)
        if known is None:
            return 0
        now = self._clock()
        if now < known.closed_until:
            return known.closed_until - now
        if now >= known.resets_at:
            return 0
        if known.remaining <= (0 if order else known.limit // _RESERVE):
            return known.resets_at - now
        known.remaining -= 1
        return 0

    def learn(self, account: str, said: Allowance) -> None:
        """From any answer. Of answers that overtake each other within a window, the smaller remainder counts."""
        known, now = self._account(account), self._clock()
        resets_at = now + min(max(said.resets_in_s, 0), _LONGEST_S)
        # A venue gives the reset in whole seconds: what differs by less is the same window.
        same = now < known.resets_at and abs(resets_at - known.resets_at) < 2
        known.remaining = min(known.remaining, said.remaining) if same else said.remaining
        known.limit, known.resets_at = said.limit, resets_at

    def close(self, account: str, for_s: float) -> None:
        """The venue said that there were too many: nothing leaves for so many seconds."""
        known = self._account(account)
        known.closed_until = max(known.closed_until, self._clock() + min(max(for_s, 0), _LONGEST_S))

    def _account(self, account: str) -> _Account:
        known = self._accounts.pop(account, None) or _Account()
        self._accounts[account] = known
        if len(self._accounts) > _MAX_ACCOUNTS:
            self._accounts.popitem(last=False)
        return known


def allowance(headers: Mapping[str, str], names: tuple[str, str, str], *, now: float) -> Allowance | None:
    """From a venue's three headers: limit, remaining, and the reset in seconds or milliseconds since 1970, or from now.

    None where one of them is missing or no whole number.
    """
    said = [headers.get(name, "").strip() for name in names]
    if not all(text.isdecimal() and len(text) < 16 for text in said):
        return None
    most, left, reset = (int(text) for text in said)
    if reset < _EPOCH_S:
        return Allowance(most, left, reset)
    return Allowance(most, left, (reset / 1_000 if reset > _EPOCH_S * 1_000 else reset) - now)

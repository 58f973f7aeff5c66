"""Rounding residues over a follower's life: neither drift nor oscillation builds up."""

from dataclasses import dataclass, replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.orders import Side
from domain.sizing import Effect, FollowerTerms, Instrument, Mode, OrderTerms, size

D = Decimal
NOTHING = Decimal(0)
SHARE = Instrument("X", qty_step=D(1), fine_step=D("0.001"), min_qty=D(0))


@dataclass
class Life:
    """A vault and one follower, every order of whom is filled at once."""

    follower: FollowerTerms
    vault: Decimal = NOTHING
    target: Decimal = NOTHING

    def open(self, qty: Decimal) -> Decimal:
        terms = OrderTerms(Side.BUY, qty, Effect.OPEN, self.vault, D(10))
        self.vault += qty
        self.target += qty * self.follower.scale
        return self._trade(terms)

    def reduce(self, qty: Decimal) -> Decimal:
        terms = OrderTerms(Side.SELL, qty, Effect.REDUCE, self.vault, D(10))
        self.target *= (self.vault - qty) / self.vault
        self.vault -= qty
        return self._trade(terms)

    def _trade(self, terms: OrderTerms) -> Decimal:
        sized = size(terms, self.follower, SHARE)
        self.follower = replace(
            self.follower,
            holding=self.follower.holding + sized.qty * sized.side.sign,
            residue=self.follower.residue + sized.carry,
        )
        return sized.qty


def life(scale: str, *, fractional: bool = False) -> Life:
    return Life(FollowerTerms(Mode.PROPORTIONAL, D(scale), D(0), fractional=fractional))


def test_ten_orders_of_a_third_of_a_share_buy_three():
    one = life("0.333")
    bought = [one.open(D(1)) for _ in range(10)]
    assert sum(bought) == one.follower.holding == 3
    assert max(bought) == 1


def test_below_the_minimum_is_skipped_and_carried():
    tiny = FollowerTerms(Mode.PROPORTIONAL, D("0.4"), D(0))
    sized = size(OrderTerms(Side.BUY, D(1), Effect.OPEN, D(0), D(10)), tiny, SHARE)
    assert (sized.skip, sized.carry) == ("below_minimum", D("0.4"))
    assert "carried" in sized.trace[-1].why


def test_what_a_cap_takes_away_is_not_carried():
    capped = FollowerTerms(Mode.CAPPED, D(1), D(0), max_pos_usd=D(55))
    sized = size(OrderTerms(Side.BUY, D("9.5"), Effect.OPEN, D(0), D(10)), capped, SHARE)
    assert (sized.qty, sized.cap_applied, sized.carry) == (D(5), True, D(0))


def test_buying_and_selling_in_turns_does_not_oscillate():
    one = life("0.7")
    for _ in range(50):
        one.open(D(1))
        one.reduce(one.vault / 2)
    assert abs(one.follower.holding - one.target) < 1


@given(
    st.decimals(min_value="0.01", max_value=3, places=2),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.integers(1, 100)), min_size=1, max_size=40),
)
def test_the_position_stays_within_a_step_of_what_it_should_be(
    scale: Decimal, fractional: bool, orders: list[tuple[bool, int]]
):
    one = life(str(scale), fractional=fractional)
    step = SHARE.fine_step if fractional else SHARE.qty_step
    for opens, amount in orders:
        if opens or one.vault == 0:
            one.open(D(amount))
        else:
            one.reduce((one.vault * amount / 100).quantize(D("0.0001")) or one.vault)
        assert abs(one.follower.holding - one.target) < step + D("1e-9")
        assert abs(one.follower.holding + one.follower.residue - one.target) < D("1e-9")
    if one.vault:
        one.reduce(one.vault)
    assert one.follower.holding == one.follower.residue == 0

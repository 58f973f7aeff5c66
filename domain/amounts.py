"""Money of bills on its way to people and back: integer minor units (US cents) as decimal strings. Never a float."""

from decimal import Decimal

from domain.errors import InvalidInput

_MINOR = 100  # of a dollar; every plan is in US dollars (`domain.plans`)


def shown(minor: int) -> str:
    """4900 is `49.00`."""
    whole, cents = divmod(abs(minor), _MINOR)
    return f"{'-' if minor < 0 else ''}{whole}.{cents:02d}"


def minor_of(field: str, amount: Decimal) -> int:
    """`49.00` is 4900. Raises InvalidInput for what is no positive number of whole cents."""
    if not amount.is_finite() or amount <= 0:
        raise InvalidInput(field, "must be above zero")
    minor = amount * _MINOR
    if minor != int(minor):
        raise InvalidInput(field, "has more than two decimals")
    return int(minor)

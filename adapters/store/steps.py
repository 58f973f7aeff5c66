"""The quantity steps of an instrument, in SQL."""


def whole_step(alias: str) -> str:
    """For accounts that take no fractions: whole units are a rule of shares, and a coin is traded at its own step."""
    return f"CASE WHEN {alias}.rail = 'crypto' THEN {alias}.fine_step ELSE {alias}.qty_step END"

"""A subscription's life: its states, and what time alone brings about."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Terms:
    """`grace`: access after a renewal that is not paid, then close-only; `unpaid`: after that long it is given up.

    `reminders` count from the unpaid renewal, `trial_reminder` before a trial's end. `look_again`: after a payment
    system could not be read; `look_every`: the longest time between two readings.
    """

    grace: timedelta
    unpaid: timedelta
    reminders: tuple[timedelta, ...]
    trial_reminder: timedelta
    look_again: timedelta
    look_every: timedelta

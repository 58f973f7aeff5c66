"""What a simulated order does after it is booked (`Life`), what its sender hears (`Fault`), what streams lose."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FaultKind(StrEnum):
    """Where the conversation breaks. `*_after_booking` happens once the order is in the book.

    Of a read or a cancel, "booking" is doing what it asks for.
    """

    NONE = "none"
    RATE_LIMITED = "rate_limited"
    ERROR = "error"
    ERROR_AFTER_BOOKING = "error_after_booking"
    HANG = "hang"
    HANG_AFTER_BOOKING = "hang_after_booking"
    DROP = "drop"
    DROP_AFTER_BOOKING = "drop_after_booking"
    SLOW = "slow"  # books and answers after `delay_ms`, even when the sender has gone
    DUPLICATE_AFTER_BOOKING = "duplicate_after_booking"  # books, and says that the client order id was spent


class _Script(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fault(_Script):
    """Applies to the first `times` submissions of one client order id; later ones are answered as usual."""

    kind: FaultKind = FaultKind.NONE
    times: int = Field(default=1, ge=1, le=1_000)
    status: int = Field(default=503, ge=500, le=599)
    retry_after_s: int | None = Field(default=None, ge=0, le=3_600)
    delay_ms: int = Field(default=0, ge=0, le=60_000)


class Life(_Script):
    """`filled` executes all `steps`; any other ending comes after `fill_steps` of them.

    `delay_ms` passes before the first step or the ending, `interval_ms` between steps. A cancel takes effect
    `cancel_delay_ms` after it was asked for, and not before `late_steps` more steps were executed: all of them, and it
    comes too late.
    """

    ending: Literal["filled", "stuck", "expired", "rejected"] = "filled"
    delay_ms: int = Field(default=0, ge=0, le=3_600_000)
    steps: int = Field(default=1, ge=1, le=100)
    interval_ms: int = Field(default=0, ge=0, le=3_600_000)
    fill_steps: int = Field(default=0, ge=0, le=99)
    cancel_delay_ms: int = Field(default=0, ge=0, le=3_600_000)
    late_steps: int = Field(default=0, ge=0, le=100)

    @property
    def executed_steps(self) -> int:
        return self.steps if self.ending == "filled" else min(self.fill_steps, self.steps - 1)


class Behaviour(_Script):
    life: Life = Life()
    fault: Fault = Fault()


NO_FAULT = Fault()

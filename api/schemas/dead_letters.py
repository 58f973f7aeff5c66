"""Dead letters on the wire: as they are listed, and what redriving and purging them came to."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictInt, computed_field

from api.paging import Text
from api.schemas.common import Answer, Request
from domain.errors import InvalidInput
from domain.orders import FollowerState, LetterState

MOST = 100
Ids = Annotated[list[Annotated[StrictInt, Field(ge=1, lt=2**63)]], Field(min_length=1, max_length=MOST)]


class DeadLetter(Answer):
    """`context` is what an operator needs: order, last error, every attempt, the sizing trace."""

    dead_letter_id: int
    fo_id: str
    mo_id: str
    follower_id: str
    reason: str
    context: dict[str, Any]
    created_at: datetime
    redriven_at: datetime | None
    redriven_by: str | None
    purged_at: datetime | None
    purged_by: str | None
    purge_reason: str | None

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def state(self) -> LetterState:
        if self.purged_at is not None:
            return LetterState.PURGED
        return LetterState.OPEN if self.redriven_at is None else LetterState.REDRIVEN


class LetterFilterBody(Request):
    """Open letters that all of these hold for; at least one is needed."""

    vault_id: Text | None = None
    follower_id: Text | None = None
    mo_id: Text | None = None
    reason: Text | None = None


class RedriveBody(Request):
    """Either `dead_letter_ids`, or `filter` with the oldest `limit` of what it finds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"dead_letter_ids": [41, 42]}, {"filter": {"follower_id": "F_bob_7hq2m4zt"}, "limit": 50}]
        }
    )

    dead_letter_ids: Ids | None = None
    filter: LetterFilterBody | None = None
    limit: int = Field(default=MOST, ge=1, le=MOST, description="Of what a filter finds, oldest first.")

    def check(self) -> None:
        """Raises InvalidInput unless it is clear which letters are meant."""
        if (self.dead_letter_ids is None) == (self.filter is None):
            raise InvalidInput("dead_letter_ids", "give either dead_letter_ids or filter")
        if self.filter is not None and not any(self.filter.model_dump().values()):
            raise InvalidInput("filter", "must name at least one of vault_id, follower_id, mo_id, reason")


class Outcome(StrEnum):
    REDRIVEN = "redriven"
    REFUSED = "refused"
    PENDING = "pending"
    PURGED = "purged"


class RedriveResult(Answer):
    """`redriven`: the order is under way again, in `state`. `refused`: nothing has changed; `code` is stable.

    `pending`: it was handed over, but the verdict was not there in time; repeat the request under the same key.
    """

    dead_letter_id: int
    outcome: Outcome
    fo_id: str | None = None
    state: FollowerState | None = None
    code: str | None = Field(default=None, examples=["price_collar"])
    reason: str | None = None


class RedriveAnswer(Answer):
    items: list[RedriveResult]
    redriven: int
    refused: int
    pending: int
    more: bool = Field(default=False, description="The filter finds letters beyond the limit.")


class PurgeBody(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dead_letter_ids": [41], "reason": "the follower bought by hand"}]}
    )

    dead_letter_ids: Ids
    reason: str = Field(min_length=1, max_length=500, description="Why nobody needs the order any more; audited.")


class PurgeResult(Answer):
    dead_letter_id: int
    outcome: Outcome
    code: str | None = None
    reason: str | None = None


class PurgeAnswer(Answer):
    items: list[PurgeResult]
    purged: int
    refused: int

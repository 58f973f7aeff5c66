"""Overlays on the wire."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt

import models
from api.schemas.common import Answer, DecimalStr, Request
from api.schemas.kills import KillAcknowledgement
from domain.admission import Halt
from domain.overlays import EndReason, NewOverlay, OverlayKind, Params

_MAX_MINUTES = 10 * 24 * 60  # far above every kind's own limit, which the domain names
Minutes = Annotated[StrictInt, Field(ge=0, le=_MAX_MINUTES)]
Amount = Annotated[Decimal, Field(max_digits=28, decimal_places=12)]


class NewOverlayBody(Request):
    """Which of the fields are needed follows from `kind`; those of another kind are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "flip", "ttl_minutes": 45, "persona": "ares", "amplify": "0.35", "reason": "earnings tonight"},
                {"kind": "boost", "ttl_minutes": 1440, "persona": "athena", "delta": "0.1"},
                {"kind": "maintenance", "reason": "moving accounts"},
                {"kind": "halt", "level": "halt_opens", "follower_id": "F_bob_7hq2m4zt"},
            ]
        }
    )

    kind: OverlayKind
    follower_id: str | None = Field(
        default=None, min_length=1, max_length=64, description="Only this follower; without it the whole vault."
    )
    ttl_minutes: Minutes | None = Field(
        default=None, description="flip: 30 to 60; boost: 5 to 10080; maintenance and halt last until they are ended."
    )
    persona: str | None = Field(default=None, max_length=64, description="Of a flip or a boost.")
    amplify: Amount | None = Field(default=None, description="Of a flip: 0.35 adds 35 % weighting; -0.9 to 1.")
    delta: Amount | None = Field(
        default=None, description="Of a boost: added to the override of the persona's trait; -1 to 1."
    )
    level: Halt | None = Field(default=None, description="Of a halt.")
    reason: str = Field(default="", max_length=500)

    def to_domain(self, vault_id: str) -> NewOverlay:
        return NewOverlay(
            kind=self.kind,
            vault_id=vault_id,
            follower_id=self.follower_id,
            ttl=None if self.ttl_minutes is None else timedelta(minutes=self.ttl_minutes),
            params=Params(self.persona, self.amplify, self.delta, self.level),
            reason=self.reason,
        )


class ExtendOverlayBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"ttl_minutes": 60}]})

    ttl_minutes: Minutes = Field(description="How long it is to last in all, counted from its start.")


class Overlay(Answer):
    """`active`: whether it counts now. One whose time is over does not, even before `ended_at` says so."""

    overlay_id: str = Field(examples=["OV-7K5ZC2QW4N6J3XEXAMPLE2AB4C"])
    vault_id: str | None
    follower_id: str | None
    kind: OverlayKind
    active: bool
    persona: str | None
    amplify: DecimalStr | None
    delta: DecimalStr | None
    level: Halt | None
    reason: str
    actor: str
    starts_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None
    end_reason: EndReason | None
    ended_by: str | None

    @classmethod
    def of(cls, row: models.Overlay) -> Self:
        params = Params.from_json(row.params)
        kept = row.ended_at is None and (row.expires_at is None or datetime.now(UTC) < row.expires_at)
        return cls(
            **row.model_dump(exclude={"tenant_id", "params"}), active=kept, persona=params.persona,
            amplify=params.amplify, delta=params.delta, level=params.level,
        )  # fmt: skip


class StartedOverlay(Overlay):
    acknowledgement: KillAcknowledgement | None = Field(
        default=None, description="Of a halt or maintenance: no send that it stops begins after this answer."
    )


class StartingOverlay(Answer):
    """Handed over, and not known to have begun: repeat the request under the same key, or read the list."""

    overlay_id: str

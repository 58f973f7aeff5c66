"""Halts on the wire: of a follower, a vault, the tenant, or everything."""

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import ConfigDict, Field

import models
from api.schemas.common import Answer, Request
from api.schemas.kills import KillAcknowledgement
from domain.admission import Halt as Level


class Scope(StrEnum):
    FOLLOWER = "follower"
    VAULT = "vault"
    TENANT = "tenant"
    PLATFORM = "platform"


class NewHaltBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"scope": "tenant", "level": "halt_opens", "reason": "the price feed is wrong"},
                {"scope": "vault", "id": "V_alpha_k3v9q2xd", "level": "flatten", "reason": "out by the close"},
            ]
        }
    )

    scope: Scope
    id: str | None = Field(default=None, min_length=1, max_length=64, description="Of the follower or the vault.")
    level: Level = Field(description="halt_opens: reductions go on; halt_all: nothing does; flatten: all is sold.")
    reason: str = Field(default="", max_length=500)


class PulledHalt(Answer):
    halt_id: str
    scope: Scope
    vault_id: str | None
    follower_id: str | None
    level: Level
    reason: str
    actor: str
    starts_at: datetime
    ended_at: datetime | None
    acknowledgement: KillAcknowledgement | None = Field(
        default=None, description="When it is pulled: no send in its scope begins after this answer."
    )

    @classmethod
    def of_overlay(cls, row: models.Overlay) -> Self:
        scope = Scope.TENANT if row.vault_id is None else Scope.VAULT if row.follower_id is None else Scope.FOLLOWER
        return cls(
            halt_id=row.overlay_id, scope=scope, vault_id=row.vault_id, follower_id=row.follower_id,
            level=Level(row.params["level"]), reason=row.reason, actor=row.actor, starts_at=row.starts_at,
            ended_at=row.ended_at,
        )  # fmt: skip

    @classmethod
    def of_platform(cls, row: models.PlatformHalt) -> Self:
        return cls(
            halt_id=row.halt_id, scope=Scope.PLATFORM, vault_id=None, follower_id=None, level=Level(row.level),
            reason=row.reason, actor=row.actor, starts_at=row.starts_at, ended_at=row.ended_at,
        )  # fmt: skip


class Halts(Answer):
    items: list[PulledHalt]

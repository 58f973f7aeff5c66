"""Answers of the health endpoints."""

from typing import Literal

from api.schemas.common import Answer


class Alive(Answer):
    status: Literal["alive"] = "alive"


class Dependency(Answer):
    """Without a `vital` one this instance takes no orders."""

    ok: bool
    vital: bool
    latency_ms: int


class Ready(Answer):
    """`degraded`: everything vital answers, something else does not."""

    status: Literal["ready", "degraded", "unready"]
    dependencies: dict[str, Dependency]

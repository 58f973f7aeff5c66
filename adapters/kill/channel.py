"""How kills travel through Redis, and the names they have there. It only makes them faster: Postgres has them all."""

from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import SecretStr
from redis.asyncio import Redis

from domain.admission import Halt
from domain.kills import Kill

CHANNEL = "vanta:kills"
ACK_TTL_S = 30


def acks(kill_id: int) -> str:
    return f"vanta:kill:{kill_id}:acks"


def lease(sender_id: str) -> str:
    return f"vanta:sender:{sender_id}"


def encode(kill: Kill) -> bytes:
    return orjson.dumps(
        {
            "kill_id": kill.kill_id,
            "tenant_id": kill.tenant_id,
            "level": kill.level.value,
            "vault_id": kill.vault_id,
            "follower_id": kill.follower_id,
        }
    )


def decode(message: bytes) -> Kill:
    """Raises ValueError or KeyError for what is none."""
    return from_row(orjson.loads(message))


def from_row(row: dict[str, Any]) -> Kill:
    return Kill(
        int(row["kill_id"]), str(UUID(str(row["tenant_id"]))), Halt(row["level"]), row["vault_id"], row["follower_id"]
    )


class RedisConfig(Protocol):
    """What `settings.RedisSettings` offers."""

    @property
    def url(self) -> SecretStr: ...
    @property
    def timeout_s(self) -> int: ...
    @property
    def pool_size(self) -> int: ...


def open_redis(config: RedisConfig) -> Redis:
    """Connects at first use; every command has a time-out."""
    timeout = config.timeout_s
    return Redis.from_url(
        config.url.get_secret_value(), socket_timeout=timeout, socket_connect_timeout=timeout,
        max_connections=config.pool_size,
    )  # fmt: skip

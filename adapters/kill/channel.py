"""How kills travel through Redis, and the names they have there. It only makes them faster: Postgres has them all."""

from typing import Any, Protocol
from uuid import UUID

import orjson
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

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
    """Connects at first use; every command has a time-out. Where all connections are taken, a command waits for one.

    One repeat at once, for a connection that a restart of the server broke; whoever asks has a way without Redis, and
    takes it sooner than the client's own repeats would let him.
    """
    timeout = config.timeout_s
    pool = BlockingConnectionPool.from_url(
        config.url.get_secret_value(), socket_timeout=timeout, socket_connect_timeout=timeout,
        max_connections=config.pool_size, timeout=timeout, retry=Retry(NoBackoff(), 1),
    )  # fmt: skip
    return Redis.from_pool(pool)

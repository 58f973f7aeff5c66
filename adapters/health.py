"""Whether Redis and NATS answer; each call is a connection of its own, closed again."""

import nats
from redis.asyncio import Redis


async def ping_redis(url: str, *, timeout_s: float) -> None:
    """Raises what the client raises when Redis is out of reach."""
    client = Redis.from_url(url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s)
    try:
        await client.ping()
    finally:
        await client.aclose()


async def ping_nats(url: str, *, timeout_s: float) -> None:
    """Raises what the client raises when NATS or its JetStream is out of reach."""
    connection = await nats.connect(
        url, connect_timeout=max(1, round(timeout_s)), allow_reconnect=False, error_cb=_quiet
    )
    try:
        await connection.jetstream(timeout=timeout_s).account_info()
    finally:
        await connection.close()


async def _quiet(_error: Exception) -> None:
    """The failure reaches the caller as an exception; the default would also print it."""

"""The floor: a bare asyncio loop that posts bodies which are sized, serialised and signed already. No durability.

aiohttp on uvloop, and as many posting tasks as requests in flight: `python -m bench.clients` shows why. One task per
request, queueing for the connector, costs half as much again.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from dataclasses import dataclass

import aiohttp
import uvloop

from domain import signing


@dataclass(frozen=True, slots=True)
class Posts:
    """One URL and its signed headers per follower; all share one body."""

    requests: list[tuple[str, dict[str, str]]]
    body: bytes


def prepare(url: str, count: int, key: bytes, body_bytes: int) -> Posts:
    """Sign `count` requests with ids of their own over one body of `body_bytes` (even)."""
    body = os.urandom(body_bytes // 2).hex().encode()
    run, now = uuid.uuid4().hex, int(time.time())
    return Posts([(f"{url}/F_{n}", signing.headers([key], f"{run}-{n}", now, body)) for n in range(count)], body)


async def post_all(posts: Posts, concurrency: int) -> float:
    """Post every request, `concurrency` at a time; the monotonic time at which the loop began.

    Raises aiohttp.ClientError for a request that the other side does not take.
    """
    waiting = iter(posts.requests)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def post() -> None:
            for url, headers in waiting:
                async with session.post(url, data=posts.body, headers=headers, raise_for_status=True) as answer:
                    await answer.read()

        began = time.monotonic()
        await asyncio.gather(*(post() for _ in range(concurrency)))
    return began


if __name__ == "__main__":
    where, followers, secret, parallel, size = sys.argv[1:]
    ready = prepare(where, int(followers), bytes.fromhex(secret), int(size))
    start = uvloop.run(post_all(ready, int(parallel)))
    sys.stdout.write(json.dumps({"began": start}) + "\n")

"""The floor: a bare asyncio loop that posts bodies which are sized, serialised and signed already. No durability."""

import asyncio
import json
import os
import sys
import time
import uuid

import aiohttp

from domain import signing


async def post_all(url: str, count: int, key: bytes, concurrency: int, body_bytes: int) -> float:
    """Post one request per follower; the monotonic time at which the loop began."""
    body = os.urandom(body_bytes // 2).hex().encode()
    run = uuid.uuid4().hex
    ready = [(f"{url}/F_{n}", signing.headers([key], f"{run}-{n}", int(time.time()), body)) for n in range(count)]
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        began = time.monotonic()

        async def post(target: str, headers: dict[str, str]) -> None:
            async with session.post(target, data=body, headers=headers) as answer:
                await answer.read()

        await asyncio.gather(*(post(target, headers) for target, headers in ready))
    return began


if __name__ == "__main__":
    where, followers, secret, parallel, size = sys.argv[1:]
    start = asyncio.run(post_all(where, int(followers), bytes.fromhex(secret), int(parallel), int(size)))
    sys.stdout.write(json.dumps({"began": start}) + "\n")

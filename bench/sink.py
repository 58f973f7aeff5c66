"""The receiving end of a benchmark: a server in its own process that checks every signature and counts every id."""

import asyncio
import json
import sys
import time

from aiohttp import web

from domain import signing

WAIT_S = 60


class Sink:
    """One signing key for all followers; `arrivals` maps delivery id to the monotonic times of its requests."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._awaited: list[tuple[int, asyncio.Event]] = []
        self.arrivals: dict[str, list[float]] = {}
        self.forged = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{follower}", self.take), web.get("/count", self.count), web.get("/report", self.report)]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at = time.monotonic()
        if not signing.verify([self._key], request.headers, body, now=int(time.time())):
            self.forged += 1
            return web.Response(status=401)
        self.arrivals.setdefault(request.headers["webhook-id"], []).append(at)
        for wanted, reached in self._awaited:
            if len(self.arrivals) >= wanted:
                reached.set()
        return web.Response(status=204)

    async def count(self, request: web.Request) -> web.Response:
        """How many ids came since the last report; `?at_least=N` answers once they are N, or after WAIT_S."""
        wanted, reached = int(request.query.get("at_least", 0)), asyncio.Event()
        if len(self.arrivals) < wanted:
            self._awaited.append((wanted, reached))
            try:
                async with asyncio.timeout(WAIT_S):
                    await reached.wait()
            except TimeoutError:
                pass
            finally:
                self._awaited.remove((wanted, reached))
        return web.json_response({"ids": len(self.arrivals)})

    async def report(self, _request: web.Request) -> web.Response:
        """Everything since the last report, then forget it."""
        arrivals, self.arrivals = self.arrivals, {}
        forged, self.forged = self.forged, 0
        return web.json_response({"arrivals": arrivals, "forged": forged})


async def serve(key: bytes) -> None:
    sink = Sink(key)
    app = web.Application()
    app.add_routes([web.post("/{follower}", sink.take), web.get("/count", sink.count), web.get("/report", sink.report)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(bytes.fromhex(sys.argv[1])))

"""The receiving end of a benchmark: a server in its own process that checks every signature and counts every id."""

import asyncio
import json
import sys
import time

from aiohttp import web

from domain import signing


class Sink:
    """One signing key for all followers; `arrivals` maps delivery id to the monotonic times of its requests."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.arrivals: dict[str, list[float]] = {}
        self.forged = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{follower}", self.take), web.get("/report", self.report)]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at = time.monotonic()
        if not signing.verify([self._key], request.headers, body, now=int(time.time())):
            self.forged += 1
            return web.Response(status=401)
        self.arrivals.setdefault(request.headers["webhook-id"], []).append(at)
        return web.Response(status=204)

    async def report(self, _request: web.Request) -> web.Response:
        """Everything since the last report, then forget it."""
        arrivals, self.arrivals = self.arrivals, {}
        forged, self.forged = self.forged, 0
        return web.json_response({"arrivals": arrivals, "forged": forged})


async def serve(key: bytes) -> None:
    sink = Sink(key)
    app = web.Application()
    app.add_routes(sink.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(bytes.fromhex(sys.argv[1])))

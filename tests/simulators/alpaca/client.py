"""Plain HTTP against the simulator, as somebody else's code would do it."""

from dataclasses import dataclass
from typing import Any

import aiohttp

from simulators.alpaca import AlpacaSimulator

KEYS = {"APCA-API-KEY-ID": "AK1", "APCA-API-SECRET-KEY": "s1"}
MARKET = {"symbol": "AAPL", "qty": "5", "side": "buy", "type": "market", "time_in_force": "day"}


@dataclass
class Client:
    simulator: AlpacaSimulator
    session: aiohttp.ClientSession
    times: list[float]

    def advance(self, seconds: float) -> None:
        self.times[0] += seconds

    async def call(
        self, method: str, path: str, json: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, parsed body)."""
        given = KEYS if headers is None else headers
        async with self.session.request(method, self.simulator.url + path, json=json, headers=given) as response:
            return response.status, await response.json(content_type=None)

    async def order(self, client_order_id: str, /, **changes: object) -> tuple[int, Any]:
        return await self.call("POST", "/v2/orders", MARKET | {"client_order_id": client_order_id} | changes)

    async def find(self, client_order_id: str) -> Any:
        status, body = await self.call("GET", f"/v2/orders:by_client_order_id?client_order_id={client_order_id}")
        assert status == 200, body
        return body

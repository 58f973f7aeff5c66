"""How long an answer may take to begin."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from api.bounds import Bounds


async def test_an_answer_that_is_made_of_the_cancellation_itself_is_sent():
    """As the workflow engine's client makes an error of its own of it, and the gateway a problem of that."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await send({"type": "http.response.start", "status": 504, "headers": []})
            await send({"type": "http.response.body", "body": b"late"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope: Scope = {"type": "http", "raw_path": b"/", "query_string": b"", "headers": []}
    await Bounds(app, timeout_s=0.01)(scope, receive, send)
    assert [message.get("status") for message in sent] == [504, None]

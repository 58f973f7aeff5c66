"""The API, and a FastAPI app with one empty route beside it in the same server: `python -m bench.api_server`."""

from typing import cast

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from adapters import logs
from api.app import create_app
from api.serving import serve
from settings import Settings

EMPTY = "/empty"


def empty() -> FastAPI:
    """What the framework costs by itself: no middleware, no dependencies, no work."""
    app = FastAPI()

    @app.get(EMPTY)
    async def nothing() -> dict[str, str]:
        return {}

    return app


def main() -> None:
    settings = Settings()
    logs.configure(settings.log_level)
    ours, bare = create_app(settings), empty()

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare if scope.get("path") == EMPTY else ours)(scope, receive, send)

    serve(settings, cast("FastAPI", either))


if __name__ == "__main__":
    main()

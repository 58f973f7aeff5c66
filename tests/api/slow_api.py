"""The API as a process, with a few routes more: one that waits for a file, one that never answers, one that breaks."""

import asyncio
import sys
from pathlib import Path

from fastapi import Request

from adapters import logs
from api.app import create_app
from api.serving import serve
from domain.errors import StoreUnavailable
from stack.environment import load_settings


def main(env: Path, port: int, timeout_s: float, proxies: list[str], marks: Path) -> None:
    settings = load_settings(env)
    more = {"port": port, "request_timeout_s": timeout_s, "trusted_proxies": proxies}
    settings = settings.model_copy(update={"profile": "production", "api": settings.api.model_copy(update=more)})
    app = create_app(settings)

    @app.get("/slow", operation_id="get_health")
    async def slow() -> dict[str, str]:
        (marks / "begun").touch()
        while not (marks / "finish").exists():
            await asyncio.sleep(0.01)
        return {"status": "done"}

    @app.get("/stuck", operation_id="get_health")
    async def stuck() -> None:
        await asyncio.Event().wait()

    @app.get("/broken", operation_id="get_health")
    async def broken(request: Request) -> None:
        raise RuntimeError(f"cannot serve {request.headers.get('authorization')} of mallory@example.com")

    @app.get("/away", operation_id="get_health")
    async def away() -> None:
        raise StoreUnavailable("gone")

    @app.get("/whoami", operation_id="get_health")
    async def whoami(request: Request) -> dict[str, str]:
        return {"address": request.client.host if request.client else ""}

    logs.configure("DEBUG")
    serve(settings, app)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].split(), Path(sys.argv[5]))

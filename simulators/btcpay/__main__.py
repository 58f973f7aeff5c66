"""`python -m simulators.btcpay --port N --data DIR`: prints one JSON line with its URL, then serves until SIGTERM.

`DIR/config.json`, where there is one, says what the store is: `store_id`, `api_key`, `webhooks` (`url` and `secret`
each), `rate`, `speed`. It is a file and no option, for options are seen by everybody on the machine.
"""

import argparse
import asyncio
import json
import signal
import sys
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from simulators.btcpay.delivery import Webhook
from simulators.btcpay.server import BtcpayServer
from simulators.btcpay.state import Speed


class _Webhook(BaseModel):
    url: str
    secret: SecretStr


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    store_id: str = "store"
    api_key: SecretStr = SecretStr("greenfield-key")
    webhooks: list[_Webhook] = Field(default_factory=list)
    rate: Decimal = Field(default=Decimal(60_000), gt=0)
    speed: Speed = Speed.MEDIUM


def main() -> None:
    parser = argparse.ArgumentParser(prog="simulators.btcpay", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--data", type=Path, help="folder of the configuration, and of what outlives the process")
    given = parser.parse_args()
    try:
        asyncio.run(_serve(_server(given.port, given.data)))
    except OSError as error:
        sys.exit(f"cannot listen on port {given.port}: {error.strerror}")


def _server(port: int, folder: Path | None) -> BtcpayServer:
    file = folder / "config.json" if folder else None
    config = _Config.model_validate_json(file.read_bytes()) if file and file.exists() else _Config()
    return BtcpayServer(
        port,
        store_id=config.store_id,
        api_key=config.api_key.get_secret_value(),
        webhooks=[Webhook(w.url, w.secret.get_secret_value()) for w in config.webhooks],
        rate=config.rate,
        speed=config.speed,
        folder=folder,
    )


async def _serve(server: BtcpayServer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        sys.stdout.write(json.dumps({"url": server.url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()

"""`vanta sim` as people run it."""

import asyncio
import json
import signal
import socket
import sys
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from adapters.brokers.registry import build_brokers, close_brokers
from cli import app
from cli_sim import SimulatorError
from domain.ports import BrokerCredentials
from settings import AlpacaSettings, CoinbaseSettings, TradierSettings
from simulators.registry import VENUES

_GROUPS: dict[str, type[BaseModel]] = {
    "alpaca": AlpacaSettings,
    "coinbase": CoinbaseSettings,
    "tradier": TradierSettings,
}


async def _started(*args: str) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "sim", *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    return process, process.stdout


async def _until(output: asyncio.StreamReader, end: str) -> str:
    text = ""
    async with asyncio.timeout(60):
        while end not in text:
            line = await output.readline()
            assert line, text
            text += line.decode()
    return text


def _settings(venue: str, found: list[dict[str, Any]]) -> Any:
    """The venue's group of settings as the printed variables make it."""
    group = _GROUPS[venue]
    given = {name: value for row in found for name, value in row["settings"].items()}
    prefix = f"VANTA_{venue.upper()}__"
    mine = {name.removeprefix(prefix).lower(): value for name, value in given.items() if name.startswith(prefix)}
    assert mine.keys() <= group.model_fields.keys()
    return group.model_validate(mine)


async def test_every_venue_has_an_account_that_our_adapters_trade_with():
    process, output = await _started("--json", "--cash", "5000")
    try:
        found: list[dict[str, Any]] = json.loads(await _until(output, "\n}\n"))["venues"]
        assert [venue["venue"] for venue in found] == list(VENUES)
        brokers = build_brokers(**{name: _settings(name, found) for name in _GROUPS})
        for venue in found:
            credentials = BrokerCredentials("cred-1", venue["key_id"], venue["secret"])
            assert (await brokers[venue["venue"]].account(credentials)).cash == 5_000
        await close_brokers(brokers)
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_the_table_tells_where_the_venue_is_and_how_to_get_in():
    process, output = await _started("alpaca")
    try:
        text = await _until(output, "Ctrl-C")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    for part in ("alpaca", "http://127.0.0.1:", "PK-PAPER", "VANTA_ALPACA__PAPER_URL=http://127.0.0.1:"):
        assert part in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nasdaq"], "no simulator of 'nasdaq'; there are: alpaca"),
        (["--cash", "much"], "--cash 'much' is no amount of money"),
        (["--cash", "-1"], "--cash '-1' is no amount of money"),
    ],
)
def test_wrong_input_is_told_in_one_line(args: list[str], words: str):
    result = CliRunner().invoke(app, ["sim", *args])
    assert isinstance(result.exception, SimulatorError)
    assert str(result.exception).startswith(words)


def test_a_port_that_is_taken_is_told_in_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["sim", "alpaca", "--port", str(port)])
    assert isinstance(result.exception, SimulatorError)
    assert f"cannot listen on port {port}" in str(result.exception)

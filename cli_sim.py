"""`vanta sim`: the venues' simulators in this process, for paper trading without an account anywhere."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from cli_http import console, table
from domain.errors import VantaError

if TYPE_CHECKING:
    from simulators.registry import PaperVenue

_CASH = "100000"
_HIGHEST_PORT = 65_535


class SimulatorError(VantaError):
    """No such simulator, or it cannot start. The message is one line."""

    code = "simulator-error"


def sim(
    venues: Annotated[
        list[str] | None, typer.Argument(help="alpaca, tradier, coinbase; all, where none is named.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=_HIGHEST_PORT, help="Of the first venue, the others follow; 0: free ones.")
    ] = 0,
    cash: Annotated[str, typer.Option(help="USD of the account that is ready at each venue.")] = _CASH,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Simulate the venues for paper trading, each with an account that is ready, until Ctrl-C."""
    chosen = _choose(venues or [])
    if port and port + len(chosen) - 1 > _HIGHEST_PORT:
        raise SimulatorError(f"--port {port}: there are no {len(chosen)} ports from there on")
    asyncio.run(_simulate(chosen, port, _money(cash), as_json=as_json))


def _choose(names: list[str]) -> "dict[str, PaperVenue]":
    from simulators.registry import VENUES

    if unknown := [name for name in names if name not in VENUES]:
        raise SimulatorError(f"no simulator of {unknown[0]!r}; there are: {', '.join(VENUES)}")
    return {name: VENUES[name] for name in (names or VENUES)}


def _money(given: str) -> Decimal:
    try:
        cash = Decimal(given)
    except InvalidOperation:
        cash = Decimal(-1)
    if not cash.is_finite() or cash < 0:
        raise SimulatorError(f"--cash {given!r} is no amount of money")
    return cash


async def _simulate(venues: "dict[str, PaperVenue]", port: int, cash: Decimal, *, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as running:
        ready: list[dict[str, object]] = []
        for offset, (name, venue) in enumerate(venues.items()):
            wanted = port + offset if port else 0
            try:
                simulator = await running.enter_async_context(venue.make(wanted))
            except OSError as error:
                raise SimulatorError(f"{name}: cannot listen on port {wanted}: {error.strerror}") from error
            secret = venue.new_secret()
            simulator.add_account(venue.key_id, secret, cash=cash, wallets=venue.wallets)
            found = {"url": simulator.url, "key_id": venue.key_id, "secret": secret}
            ready.append({"venue": name, **found, "settings": venue.variables(simulator)})
        _show_json(ready) if as_json else _show(ready)
        await stop.wait()


def _show_json(ready: list[dict[str, object]]) -> None:
    typer.echo(json.dumps({"venues": ready}, indent=1))


def _show(ready: list[dict[str, object]]) -> None:
    long = [row for row in ready if "\n" in str(row["secret"])]
    cells = [(r["venue"], r["url"], r["key_id"], "below" if r in long else r["secret"]) for r in ready]
    table(("venue", "url", "key id", "secret"), cells)
    out = console()
    out.print("\nEnrol followers with environment paper. The workers' environment:")
    for row in ready:
        settings = row["settings"]
        assert isinstance(settings, dict)
        for name, value in settings.items():
            out.print(f"  {name}={value}", soft_wrap=True, highlight=False, markup=False)
    for row in long:
        out.print(f"\nThe secret of {row['key_id']}:\n{row['secret']}", soft_wrap=True, highlight=False, markup=False)
    out.print(
        "\nFaults, prices and trades by hand: POST <url>/_control/… (docs/operations.md). Ctrl-C ends it.", markup=False
    )

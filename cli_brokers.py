"""`vanta brokers`: what the brokers' adapters can do, and how they read their vendors' answers."""

from typing import Annotated

import typer

from cli_http import console, table

Markdown = Annotated[bool, typer.Option("--markdown", help="As docs/brokers.md has it.")]


def brokers(*, markdown: Markdown = False) -> None:
    """Show what each venue can do, and what its answers to an order mean here."""
    from adapters.brokers import table as told
    from adapters.brokers.registry import build_brokers
    from settings import AlpacaSettings, CoinbaseSettings, TradierSettings

    known = build_brokers(alpaca=AlpacaSettings(), coinbase=CoinbaseSettings(), tradier=TradierSettings())
    if markdown:
        typer.echo(told.markdown(known), nl=False)
        return
    for each in told.tables(known):
        console().print(f"\n[bold]{each.title}[/]")
        table(tuple(each.head), [tuple(row) for row in each.rows])

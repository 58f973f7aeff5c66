"""`vanta billing`: where payment systems and we disagree, and the comparison that finds it, started at once."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli_http import LOCAL, Api, Token, ask, console, table

app = typer.Typer(no_args_is_help=True, help="Billing: differences, reconcile.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]


@app.command()
def differences(
    token: Token,
    api: Api = LOCAL,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have gone.")] = False,  # noqa: FBT002
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """Invoices of the tenant that differ from the payment system's; needs billing:read."""
    query = {"limit": limit, **({} if everything else {"resolved": "false"})}
    page = ask(api, token, "GET", "/v1/billing/differences", params=query)
    rows = [
        (
            one["found_at"][:19], one["subscription_id"], one["provider"], one["kind"], one["ref"],
            _told(one["ours"]), _told(one["theirs"]), (one["resolved_at"] or "")[:19],
        )
        for one in page["items"]
    ]  # fmt: skip
    table(("found", "subscription", "provider", "what", "invoice", "ours", "theirs", "gone"), rows)
    if page["next_cursor"]:
        console().print(f"more than {limit}; raise --limit", style="dim")


@app.command()
def reconcile(data: DataDir = Path(".vanta")) -> None:
    """Compare all tenants' invoices now, beside the daily comparison; with the settings of the environment."""
    from stack.environment import find_settings
    from temporal.billing import compare_now
    from temporal.client import connect

    async def run() -> None:
        await compare_now(await connect(find_settings(data).temporal, lazy=True))

    asyncio.run(run())
    typer.echo("started; see the workflow reconcile-billing/all, and `vanta billing differences`")


def _told(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"

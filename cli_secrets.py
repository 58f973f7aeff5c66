"""`vanta secrets`: which master key seals what, and everything sealed under an old one wrapped anew; signing keys.

`status` and `rotate` work on the database itself, as its owner: VANTA_POSTGRES__OWNER_DSN, VANTA_SECRETS__MASTER_KEYS.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli_http import console, table

if TYPE_CHECKING:
    from adapters.store.rewrapping import KeyUse, Rewrapping

app = typer.Typer(no_args_is_help=True, help="Master keys: status, rotate. Keys of access tokens: signing-key.")
DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
_DATA = Path(".vanta")
_SHOWN = 20


@app.command()
def status(data: DataDir = _DATA) -> None:
    """Show how many secrets are sealed under which master key; a key with none can be removed from the setting."""
    _show(asyncio.run(_rewrapping(data).status()))


@app.command()
def rotate(data: DataDir = _DATA) -> None:
    """Wrap every secret under the newest master key; may be broken off and repeated. Exit code 1 unless all went."""
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    rewrapping = _rewrapping(data)
    with Progress(TextColumn("secrets"), MofNCompleteColumn(), console=console(), transient=True) as progress:
        task = progress.add_task("", total=None)
        done = asyncio.run(rewrapping.run(lambda n, total: progress.update(task, completed=n, total=total)))
    console().print(f"{sum(done.done.values())} secrets were wrapped anew")
    _show(asyncio.run(rewrapping.status()))
    for _, why in done.failed[:_SHOWN]:
        console().print(why, markup=False)
    if done.failed:
        console().print(f"{len(done.failed)} could not be opened and stay as they are; their owners must send new ones")
        raise typer.Exit(1)


@app.command("signing-key")
def signing_key(
    jwks: Annotated[str, typer.Option("--jwks", envvar="VANTA_AUTH__JWKS", help="The set to add to.")] = "",
) -> None:
    """Make a key that signs access tokens, and print it with the set of keys that are accepted, its own in front.

    It is kept nowhere. To rotate: first give the new set to every API, then the new key, then take the old one out of
    the set when the last token that it has signed is over.
    """
    from adapters.tokens import new_signing_key

    key, published = new_signing_key(jwks)
    typer.echo(f"VANTA_AUTH__SIGNING_KEY='{key}'\nVANTA_AUTH__JWKS='{published}'")


def _rewrapping(data: Path) -> "Rewrapping":
    from adapters.secretbox import SecretBox
    from adapters.store.rewrapping import Rewrapping
    from stack.environment import find_settings
    from stack.errors import StackError

    settings = find_settings(data)
    owner = settings.postgres.owner_dsn
    if owner is None:
        raise StackError("VANTA_POSTGRES__OWNER_DSN is not set; only the owner of the tables sees all tenants' secrets")
    return Rewrapping(owner, SecretBox(settings.secrets.master_keys.get_secret_value()))


def _show(uses: "list[KeyUse]") -> None:
    rows = [(use.key_id, use.credentials, use.webhook_keys, use.of_before, _words(use)) for use in uses]
    table(("master key", "credentials", "webhook keys", "without a data key", ""), rows)


def _words(use: "KeyUse") -> str:
    if use.newest:
        return "seals what is new"
    if not use.configured:
        return "not configured: what it sealed cannot be opened"
    return "still needed" if use.credentials or use.webhook_keys else "can be removed from the setting"

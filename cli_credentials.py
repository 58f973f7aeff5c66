"""`vanta credentials`: followers' broker credentials at the command line, through the API.

The token needs vault:read to list, follower:manage to test. Keys are replaced over HTTP only: a command's arguments
end in a shell's history.
"""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli_http import LOCAL, Api, Token, ask, console, table
from domain.credentials import Which

app = typer.Typer(no_args_is_help=True, help="Broker credentials: list, test.")

Follower = Annotated[str, typer.Argument(help="The follower's id (F_…).")]
_HEADINGS = ("account", "venue", "environment", "status", "since", "expires", "")


@app.command("list")
def list_credentials(follower: Follower, token: Token, api: Api = LOCAL) -> None:
    """Where the follower's credentials are for, and whether they work."""
    table(_HEADINGS, [_row(item) for item in ask(api, token, "GET", _path(follower))["items"]])


@app.command("test")
def try_out(
    follower: Follower, which: Annotated[Which, typer.Argument(help="Which account.")], token: Token, api: Api = LOCAL
) -> None:
    """Ask the broker for the account; an answer mends a broken credential. Exit code 1 unless there was one."""
    done = ask(api, token, "POST", f"{_path(follower)}/{which}/test")
    console().print(done["words"] + (": the credential works again" if done["mended"] else ""), markup=False)
    table(_HEADINGS, [_row(done["credential"])])
    if not done["ok"]:
        raise typer.Exit(1)


def _path(follower: str) -> str:
    return f"/v1/followers/{quote(follower, safe='')}/credentials"


def _row(item: dict[str, Any]) -> tuple[Any, ...]:
    expires = (item["expires_at"] or "")[:19]
    return (
        item["which"], item["venue"], item["environment"], item["status"], item["since"][:19], expires, item["words"],
    )  # fmt: skip

"""`vanta halt`, `vanta halts`, `vanta lift`: the kill paths at the command line, through the API.

The token needs mirror:manage; to list them vault:read, for the whole platform admin too.
"""

import uuid
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli_http import LOCAL, Api, ApiError, Key, Token, ask, console, table
from domain.admission import Halt

_PATH = "/v1/halts"


class Scope(StrEnum):
    FOLLOWER = "follower"
    VAULT = "vault"
    TENANT = "tenant"
    PLATFORM = "platform"


def halt(
    token: Token,
    scope: Annotated[Scope, typer.Option(help="Whom it stops.")],
    level: Annotated[
        Halt, typer.Option(help="halt_opens: reductions go on; halt_all: nothing does; flatten: all sold.")
    ],
    reason: Annotated[str, typer.Option(help="Why; audited.")],
    whom: Annotated[str | None, typer.Option("--id", help="Of the follower or the vault.")] = None,
    api: Api = LOCAL,
    key: Key = None,
) -> None:
    """Stop a follower, a vault, the tenant or everything until it is lifted; when this returns, nothing more begins."""
    used = key or uuid.uuid4().hex
    body = {"scope": scope.value, "level": level.value, "reason": reason} | ({} if whom is None else {"id": whom})
    try:
        made = ask(api, token, "POST", _PATH, json=body, headers={"Idempotency-Key": used})
    except ApiError as error:
        if not error.in_doubt:
            raise
        # Under another key a repeat would be a second halt, and one of the two would outlive `vanta lift`.
        raise ApiError(f"{error}; the halt may be in force: repeat with --key {used}", in_doubt=True) from error
    table(_HEADINGS, [_row(made)])
    done = made["acknowledgement"]
    console().print(
        f"nothing more begins: {done['senders']} processes have stopped, {done['in_flight']} sends had begun before "
        f"({done['via']}, {done['waited_ms']} ms)"
    )
    if level is Halt.FLATTEN:
        console().print(
            "what is under way is being called off and sold; the audit event flatten_done says what is left"
        )


def halts(token: Token, api: Api = LOCAL) -> None:
    """The halts that are in force: the tenant's, and those of the platform."""
    table(_HEADINGS, [_row(found) for found in ask(api, token, "GET", _PATH)["items"]])


def lift(
    halt_id: Annotated[str, typer.Argument(help="As vanta halt and vanta halts show it.")],
    token: Token,
    api: Api = LOCAL,
) -> None:
    """Lift a halt. One that is lifted already is no error; a flatten that is under way goes on to its end."""
    from urllib.parse import quote

    found = ask(api, token, "DELETE", f"{_PATH}/{quote(halt_id, safe='')}")
    console().print(f"{found['halt_id']} ({found['level']} of the {found['scope']}) is lifted", markup=False)


_HEADINGS = ("halt", "since", "scope", "id", "level", "by", "reason")


def _row(found: dict[str, Any]) -> tuple[Any, ...]:
    whom = found["follower_id"] or found["vault_id"]
    since = found["starts_at"][:19]
    return (found["halt_id"], since, found["scope"], whom, found["level"], found["actor"], found["reason"])

"""`vanta dlq`: dead letters at the command line, through the API; the token needs orders:read, and orders:write."""

import uuid
from typing import Annotated, Any

import typer

from cli_http import LOCAL, Api, Key, Token, ask, console, table

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, redrive, purge.")

Vault = Annotated[str | None, typer.Option("--vault", help="Of this vault.")]
Follower = Annotated[str | None, typer.Option("--follower", help="Of this follower.")]
Order = Annotated[str | None, typer.Option("--order", help="Of this manager order (M-…).")]
Why = Annotated[str | None, typer.Option("--why", help="With this reason, for example retries_exhausted.")]
_PATH = "/v1/dead-letters"


@app.command("list")
def list_letters(
    token: Token,
    api: Api = LOCAL,
    vault: Vault = None,
    follower: Follower = None,
    order: Order = None,
    why: Why = None,
    state: Annotated[str, typer.Option(help="open, redriven or purged.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """The newest dead letters, open ones unless told otherwise."""
    query = {**_filter(vault, follower, order, why), "state": state, "limit": limit}
    page = ask(api, token, "GET", _PATH, params=query)
    rows = [
        (
            letter["dead_letter_id"], letter["created_at"][:19], letter["follower_id"], _order(letter["context"]),
            letter["reason"], letter["context"].get("last_error"), letter["state"],
        )
        for letter in page["items"]
    ]  # fmt: skip
    table(("id", "since", "follower", "order", "reason", "last error", "state"), rows)
    if page["next_cursor"]:
        console().print(f"more than {limit}; narrow it down, or raise --limit", style="dim")


@app.command()
def show(number: Annotated[int, typer.Argument(min=1)], token: Token, api: Api = LOCAL) -> None:
    """One dead letter: its order, every attempt, and what has become of it."""
    letter = ask(api, token, "GET", f"{_PATH}/{number}")
    context = letter["context"]
    facts = {
        "order": f"{letter['fo_id']} of {letter['mo_id']}",
        "follower": letter["follower_id"],
        "what": _order(context),
        "reason": letter["reason"],
        "last error": context.get("last_error"),
        "redriven": _by(letter["redriven_at"], letter["redriven_by"]),
        "purged": _by(letter["purged_at"], letter["purged_by"], letter["purge_reason"]),
    }
    table(("dead letter", str(number)), [(name, value) for name, value in facts.items() if value])
    attempts = [
        (a["attempt_no"], str(a["started_at"])[:19], a["outcome"], a["code"], a["detail"])
        for a in context.get("attempts", [])
    ]
    table(("attempt", "at", "outcome", "code", "detail"), attempts)


@app.command()
def redrive(
    token: Token,
    numbers: Annotated[list[int] | None, typer.Argument(help="Ids; or none, with a filter.")] = None,
    api: Api = LOCAL,
    vault: Vault = None,
    follower: Follower = None,
    order: Order = None,
    why: Why = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Of what the filter finds, oldest first.")] = 100,
    key: Key = None,
) -> None:
    """Send dead letters' orders again, each if everything still allows it; exit code 1 unless all went."""
    body: dict[str, Any] = {"dead_letter_ids": numbers} if numbers else {"filter": _filter(vault, follower, order, why)}
    _close("redrive", api, token, {**body, "limit": limit}, key)


@app.command()
def purge(
    numbers: Annotated[list[int], typer.Argument(help="Ids.")],
    token: Token,
    reason: Annotated[str, typer.Option(help="Why nobody needs these orders any more; audited.")],
    api: Api = LOCAL,
    key: Key = None,
) -> None:
    """Close dead letters for good; exit code 1 unless all were."""
    _close("purge", api, token, {"dead_letter_ids": numbers, "reason": reason}, key)


def _close(what: str, api: str, token: str, body: dict[str, Any], key: str | None) -> None:
    used = key or uuid.uuid4().hex
    answer = ask(api, token, "POST", f"{_PATH}/{what}", json=body, headers={"Idempotency-Key": used})
    rows = [(r["dead_letter_id"], r["outcome"], r.get("state"), r["code"], r["reason"]) for r in answer["items"]]
    table(("id", "outcome", "state", "code", "reason"), rows)
    if answer.get("pending"):
        console().print(f"some verdicts are still to come; repeat with --key {used}")
    if answer.get("more"):
        console().print("the filter finds more than the limit")
    if answer["refused"] or answer.get("pending"):
        raise typer.Exit(1)


def _filter(vault: str | None, follower: str | None, order: str | None, why: str | None) -> dict[str, str]:
    named = {"vault_id": vault, "follower_id": follower, "mo_id": order, "reason": why}
    return {name: value for name, value in named.items() if value is not None}


def _order(context: dict[str, Any]) -> str:
    return " ".join(str(context[name]) for name in ("side", "qty", "symbol") if name in context)


def _by(at: str | None, who: str | None, why: str | None = None) -> str | None:
    return None if at is None else f"{at[:19]} by {who}" + (f": {why}" if why else "")

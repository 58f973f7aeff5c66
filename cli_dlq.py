"""`vanta dlq`: dead letters at the command line, through the API; the token needs orders:read, and orders:write."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domain.errors import VantaError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, redrive, purge.")

Api = Annotated[str, typer.Option("--api", envvar="VANTA_API", help="Where the API is.")]
Token = Annotated[str, typer.Option("--token", envvar="VANTA_TOKEN", help="An access token.", show_default=False)]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency-Key, to repeat a request under.", show_default="a new one")
]
Vault = Annotated[str | None, typer.Option("--vault", help="Of this vault.")]
Follower = Annotated[str | None, typer.Option("--follower", help="Of this follower.")]
Order = Annotated[str | None, typer.Option("--order", help="Of this manager order (M-…).")]
Why = Annotated[str | None, typer.Option("--why", help="With this reason, for example retries_exhausted.")]
_LOCAL = "http://127.0.0.1:8080"
_PATH = "/v1/dead-letters"
_WIDE = 160  # a pipe has no width; at rich's 80 the ids would wrap


class ApiError(VantaError):
    """The API refused, or did not answer. The message is one line."""

    code = "api-error"


@app.command("list")
def list_letters(
    token: Token,
    api: Api = _LOCAL,
    vault: Vault = None,
    follower: Follower = None,
    order: Order = None,
    why: Why = None,
    state: Annotated[str, typer.Option(help="open, redriven or purged.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """The newest dead letters, open ones unless told otherwise."""
    query = {**_filter(vault, follower, order, why), "state": state, "limit": limit}
    page = _ask(api, token, "GET", _PATH, params=query)
    rows = [
        (
            letter["dead_letter_id"], letter["created_at"][:19], letter["follower_id"], _order(letter["context"]),
            letter["reason"], letter["context"].get("last_error"), letter["state"],
        )
        for letter in page["items"]
    ]  # fmt: skip
    _table(("id", "since", "follower", "order", "reason", "last error", "state"), rows)
    if page["next_cursor"]:
        _console().print(f"more than {limit}; narrow it down, or raise --limit", style="dim")


@app.command()
def show(number: Annotated[int, typer.Argument(min=1)], token: Token, api: Api = _LOCAL) -> None:
    """One dead letter: its order, every attempt, and what has become of it."""
    letter = _ask(api, token, "GET", f"{_PATH}/{number}")
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
    _table(("dead letter", str(number)), [(name, value) for name, value in facts.items() if value])
    attempts = [
        (a["attempt_no"], str(a["started_at"])[:19], a["outcome"], a["code"], a["detail"])
        for a in context.get("attempts", [])
    ]
    _table(("attempt", "at", "outcome", "code", "detail"), attempts)


@app.command()
def redrive(
    token: Token,
    numbers: Annotated[list[int] | None, typer.Argument(help="Ids; or none, with a filter.")] = None,
    api: Api = _LOCAL,
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
    api: Api = _LOCAL,
    key: Key = None,
) -> None:
    """Close dead letters for good; exit code 1 unless all were."""
    _close("purge", api, token, {"dead_letter_ids": numbers, "reason": reason}, key)


def _close(what: str, api: str, token: str, body: dict[str, Any], key: str | None) -> None:
    used = key or uuid.uuid4().hex
    answer = _ask(api, token, "POST", f"{_PATH}/{what}", json=body, headers={"Idempotency-Key": used})
    rows = [(r["dead_letter_id"], r["outcome"], r.get("state"), r["code"], r["reason"]) for r in answer["items"]]
    _table(("id", "outcome", "state", "code", "reason"), rows)
    if answer.get("pending"):
        _console().print(f"some verdicts are still to come; repeat with --key {used}")
    if answer.get("more"):
        _console().print("the filter finds more than the limit")
    if answer["refused"] or answer.get("pending"):
        raise typer.Exit(1)


def _ask(api: str, token: str, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The answer's JSON. Raises ApiError with the problem's own words."""
    import httpx

    headers = {"Authorization": f"Bearer {token}", **request.pop("headers", {})}
    try:
        answer = httpx.request(method, api.rstrip("/") + path, headers=headers, timeout=60, **request)
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(f"the API at {api} does not answer: {error}") from error
    except ValueError as error:
        raise ApiError(f"what answers at {api} is not the API (HTTP {answer.status_code})") from error
    if answer.is_error:
        raise ApiError(f"{found.get('detail', 'refused')} (HTTP {answer.status_code})")
    return found


def _filter(vault: str | None, follower: str | None, order: str | None, why: str | None) -> dict[str, str]:
    named = {"vault_id": vault, "follower_id": follower, "mo_id": order, "reason": why}
    return {name: value for name, value in named.items() if value is not None}


def _order(context: dict[str, Any]) -> str:
    return " ".join(str(context[name]) for name in ("side", "qty", "symbol") if name in context)


def _by(at: str | None, who: str | None, why: str | None = None) -> str | None:
    return None if at is None else f"{at[:19]} by {who}" + (f": {why}" if why else "")


def _table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    _console().print(table)


def _console() -> "Console":
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    return console

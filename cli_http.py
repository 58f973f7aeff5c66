"""What the commands that go through the API share: its options, a request, a table."""

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from domain.errors import VantaError

if TYPE_CHECKING:
    from rich.console import Console

    from cli_session import Kept

Api = Annotated[str, typer.Option("--api", envvar="VANTA_API", help="Where the API is.")]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="VANTA_TOKEN",
        help="An access token or an API key.",
        default_factory=str,
        show_default="of vanta login",
    ),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency-Key, to repeat a request under.", show_default="a new one")
]
LOCAL = "http://127.0.0.1:8080"
_WIDE = 160  # a pipe has no width; at rich's 80 the ids would wrap


class ApiError(VantaError):
    """The API refused, or did not answer. The message is one line; `in_doubt`: it may have done what it was asked.

    `status`: of its refusal, None without an answer.
    """

    code = "api-error"

    def __init__(self, message: str, *, in_doubt: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.in_doubt, self.status = in_doubt, status


def ask(api: str, token: str, method: str, path: str, *, kept: "Kept | None" = None, **request: Any) -> dict[str, Any]:
    """The answer's JSON. Without a token, with that of `vanta login`.

    What changes something goes under a new key where none is given. Raises ApiError, NotLoggedIn.
    """
    if not token:
        from cli_session import Kept

        login = (kept or Kept()).current(None if api == LOCAL else api)
        api, token = login.api, login.access_token
    headers = {"Authorization": f"Bearer {token}", **request.pop("headers", {})}
    if method in {"POST", "PATCH"}:
        headers.setdefault("Idempotency-Key", uuid.uuid4().hex)
    return send(api, method, path, headers=headers, **request)


def send(api: str, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The answer's JSON, empty where it has none. Raises ApiError with the problem's own words."""
    import httpx

    try:
        answer = httpx.request(method, api.rstrip("/") + path, timeout=60, **request)
        found: dict[str, Any] = answer.json() if answer.content else {}
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiError(f"the API at {api} does not answer: {error}", in_doubt=True) from error
    except ValueError as error:
        raise ApiError(f"what answers at {api} is not the API (HTTP {answer.status_code})", in_doubt=True) from error
    if answer.is_error:
        said = f"{found.get('detail', 'refused')} (HTTP {answer.status_code})"
        raise ApiError(said, in_doubt=answer.is_server_error, status=answer.status_code)
    return found


def table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    console().print(made)


def console() -> "Console":
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    return console

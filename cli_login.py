"""`vanta login`, `logout`, `whoami`, `token`: people at a terminal, through the API as any other client."""

import hmac
import secrets
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlsplit

import typer

from cli_http import LOCAL, Api, ApiError, Token, ask, console, send
from cli_session import DEFAULT_DATA, Kept, Login

DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the login is kept.")]
_WAIT_S = 300
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def login(
    data: DataDir = DEFAULT_DATA,
    api: Annotated[
        str | None, typer.Option("--api", envvar="VANTA_API", help="Where the API is.", show_default="of vanta up")
    ] = None,
    who: Annotated[
        str | None, typer.Option("--as", help="Without a browser, on the embedded stack: a role, or an e-mail address.")
    ] = None,
    invitation: Annotated[
        str | None, typer.Option(envvar="VANTA_INVITATION", help="Its token, at a first login.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Come back to this one.", show_default="any")] = 0,
    browser: Annotated[bool, typer.Option(help="Open one, or only print the address.")] = True,
) -> None:
    """Log in with a browser; the login is kept for the commands that need a token."""
    where = (api or _running(data) or LOCAL).rstrip("/")
    kept = log_in(where, who=who, invitation=invitation, port=port, browser=browser)
    Kept(data).save(kept)
    _introduce(ask(where, kept.access_token, "GET", "/v1/me"))


def log_in(
    api: str, *, who: str | None = None, invitation: str | None = None, port: int = 0, browser: bool = True
) -> Login:
    """`who`: at the embedded stack's provider, without a browser. Raises ApiError."""
    from cli_callback import Callback
    from domain.login import s256

    verifier = secrets.token_urlsafe(48)
    with Callback(port) as callback:
        wanted = {"redirect_uri": callback.uri, "code_challenge": s256(verifier), "code_challenge_method": "S256"}
        begun = send(api, "POST", "/v1/auth/login", json=wanted | ({"invitation": invitation} if invitation else {}))
        url, state = begun["authorization_url"], begun["state"]
        found = _come_back_as(who, url) if who else _come_back(callback, url, browser=browser)
    grant = {"grant_type": "authorization_code", "code": _code(found, state), "state": state}
    proof = {"code_verifier": verifier, "redirect_uri": callback.uri}
    return Login.of(api, send(api, "POST", "/v1/auth/token", json=grant | proof))


def logout(
    data: DataDir = DEFAULT_DATA,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="All of your logins, not this one alone.")] = False,
) -> None:
    """End the login: from now on none of its tokens is good for anything."""
    kept = Kept(data)
    current = kept.current()
    try:
        ask(current.api, current.access_token, "POST", "/v1/auth/logout", json={"everywhere": everywhere})
    except ApiError as error:
        if error.status != 401:
            raise
    kept.forget()
    typer.echo("logged out")


def whoami(token: Token, api: Api = LOCAL, data: DataDir = DEFAULT_DATA) -> None:
    """Who the caller is, and what he may do at this moment."""
    _introduce(ask(api, token, "GET", "/v1/me", kept=Kept(data)))


def token(data: DataDir = DEFAULT_DATA) -> None:
    """Print an access token of the login, for other programs; refreshed when it is about to expire."""
    typer.echo(Kept(data).current().access_token)


def _introduce(me: dict[str, Any]) -> None:
    lines = console()
    lines.print(
        f"{me['role'] or me['kind']} of {me['tenant_name']} ({me['tenant_id']}), as {me['subject']}",
        f"may: {' '.join(me['scopes'])}",
        sep="\n",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _running(data: Path) -> str | None:
    """Where the API of the stack in this folder is."""
    from stack import control
    from stack.files import Layout

    state = control.running(Layout(data.absolute()))
    found = state.connection.get("api_url") if state else None
    return None if found is None else str(found)


def _come_back(callback: Any, url: str, *, browser: bool) -> dict[str, list[str]]:
    """Raises ApiError when nobody has logged in after _WAIT_S seconds."""
    import webbrowser

    typer.echo(f"log in here: {url}", err=True)
    if browser:
        webbrowser.open(url)
    found: dict[str, list[str]] | None = callback.wait(_WAIT_S)
    if found is None:
        raise ApiError(f"nobody has logged in within {_WAIT_S // 60} minutes", in_doubt=False)
    return found


def _come_back_as(who: str, url: str) -> dict[str, list[str]]:
    """Fill in the form of the embedded stack's provider, which asks for nothing but a name. Raises ApiError."""
    import httpx

    provider = httpx.URL(url)
    if provider.host not in _LOOPBACK:
        raise ApiError(f"--as is for the embedded stack; {provider.host} wants a browser", in_doubt=False)
    try:
        if "@" in who:  # it vouches for whomever it is told of
            person = {"email": who, "email_verified": True}
            httpx.put(provider.join(f"/users/{quote(who, safe='@')}"), json=person).raise_for_status()
        answer = httpx.post(provider, data={"sub": who})
    except httpx.HTTPError as error:
        raise ApiError(f"the identity provider does not answer: {error}", in_doubt=False) from error
    if not answer.has_redirect_location:
        said = f"what answers at {provider.host}:{provider.port} is not the embedded stack's provider"
        raise ApiError(f"{said} (HTTP {answer.status_code})", in_doubt=False)
    return parse_qs(urlsplit(answer.headers["location"]).query)


def _code(found: dict[str, list[str]], state: str) -> str:
    """From what the person has come back with. Raises ApiError."""
    if not hmac.compare_digest(found.get("state", [""])[0].encode(), state.encode()):
        raise ApiError("the provider's answer is not to this login; begin again", in_doubt=False)
    if "code" not in found:
        why = found.get("error_description", found.get("error", ["no code"]))[0]
        raise ApiError(f"the identity provider has refused: {why}", in_doubt=False)
    return found["code"][0]

"""The vendor's exchange of refresh tokens: HTTP Basic with the application's id and secret, a form, always JSON."""

import hmac
import secrets
from base64 import b64encode

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from simulators.market.exchange import Exchange

LASTS_S = 86_399


class RefreshSpec(BaseModel):
    """A refresh token of an account; good once, as the next comes with each exchange."""

    model_config = ConfigDict(extra="forbid")

    account: str
    refresh_token: SecretStr = Field(min_length=1)


class OAuthRoutes:
    def __init__(self, exchange: Exchange, client_id: str, client_secret: str) -> None:
        self._exchange = exchange
        self._basic = "Basic " + b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._accounts: dict[str, str] = {}  # by refresh token

    def table(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/oauth/refreshtoken", self._refresh),
            web.post("/_control/refresh-tokens", self._set),
        ]

    def grant(self, account: str, refresh_token: str) -> None:
        """Raises ValueError."""
        if account not in self._exchange.accounts:
            raise ValueError(f"no account {account!r}")
        self._accounts[refresh_token] = account

    async def _refresh(self, request: web.Request) -> web.Response:
        """The account's old access token ends at once; one that had expired or been revoked works again by the new."""
        form = await request.post()
        given, token = request.headers.get("Authorization", ""), form.get("refresh_token")
        if not hmac.compare_digest(given.encode(), self._basic.encode()):
            return web.Response(status=401, text="Invalid client credentials")
        account = self._accounts.pop(token, None) if isinstance(token, str) else None
        if form.get("grant_type") != "refresh_token" or account is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        owner, renewed = self._exchange.accounts[account], secrets.token_urlsafe(18)
        owner.secret, owner.revoked = secrets.token_urlsafe(18), False
        self._accounts[renewed] = account
        return web.json_response(
            {
                "access_token": owner.secret,
                "refresh_token": renewed,
                "expires_in": LASTS_S,
                "scope": "read write trade stream",
                "status": "approved",
            }
        )

    async def _set(self, request: web.Request) -> web.Response:
        try:
            spec = RefreshSpec.model_validate_json(await request.read())
            self.grant(spec.account, spec.refresh_token.get_secret_value())
        except ValueError as error:
            return web.json_response({"message": str(error)}, status=400)
        return web.Response(status=204)

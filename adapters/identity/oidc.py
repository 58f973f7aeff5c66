"""An OpenID provider, found by discovery: where to log in, and who has, by an ID token that is shown to be its own."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from adapters.identity.fetching import Answer, ProviderHttp
from adapters.identity.fresh import Fresh
from adapters.identity.jose import Header, RefusedToken, import_keys, matching, read_header, verified_claims
from domain.errors import InvalidGrant, LoginRefused, ProviderUnavailable
from domain.login import Expected, Person, check_id_token, subject_of, verified_email

_DISCOVERY = "/.well-known/openid-configuration"
_MAX_ID_TOKEN_CHARS = 16_384
_PAUSE_S = 10.0  # between two looks for a key that is not known, and after a fetch that failed
_log = logging.getLogger("vanta.login")


class OidcConfig(Protocol):
    """What `settings.OidcSettings` offers."""

    @property
    def issuer(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def client_secret(self) -> SecretStr | None: ...
    @property
    def scopes(self) -> Sequence[str]: ...
    @property
    def algorithms(self) -> Sequence[str]: ...
    @property
    def jwks_ttl_s(self) -> int: ...
    @property
    def timeout_ms(self) -> int: ...


class OidcProvider:
    """`plain_http`: whether other machines may be spoken to without TLS; this one may always."""

    def __init__(
        self, config: OidcConfig, *, leeway_s: int, plain_http: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config, self._leeway_s = config, leeway_s
        self._http = ProviderHttp(timeout_s=config.timeout_ms / 1_000, plain=plain_http)
        ttl_s = config.jwks_ttl_s
        self._metadata = Fresh(self._discover, ttl_s=ttl_s, pause_s=_PAUSE_S, clock=clock)
        self._keys = Fresh(self._fetch_keys, ttl_s=ttl_s, pause_s=_PAUSE_S, clock=clock)

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where to send the person. Raises ProviderUnavailable."""
        metadata = await self._metadata.get()
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return str(httpx.URL(metadata["authorization_endpoint"]).copy_merge_params(asked))

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str, nonce: str, email: bool) -> Person:
        """Who has logged in. `email`: his address is needed, so it is asked for where the ID token lacks it.

        Raises InvalidGrant where the provider does not know the code, LoginRefused for an ID token that breaks a rule,
        ProviderUnavailable.
        """
        metadata = await self._metadata.get()
        tokens = await self._redeem(metadata, code, verifier, redirect_uri)
        claims = await self._claims(tokens.get("id_token"))
        expected = Expected(self._config.issuer, self._config.client_id, nonce, datetime.now(UTC), self._leeway_s)
        person = check_id_token(claims, expected)
        if email and person.email is None:
            return await self._with_email(person, metadata, tokens.get("access_token"))
        return person

    async def close(self) -> None:
        await self._http.close()

    async def _discover(self) -> Mapping[str, Any]:
        issuer = self._config.issuer
        found = await self._http.get(issuer.rstrip("/") + _DISCOVERY)
        if found.status != 200 or found.body.get("issuer") != issuer:
            raise ProviderUnavailable(f"the identity provider's discovery is not that of the issuer {issuer}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._http.check(found.body.get(name))
        return found.body

    async def _fetch_keys(self) -> Sequence[Mapping[str, Any]]:
        metadata = await self._metadata.get()
        found = await self._http.get(metadata["jwks_uri"])
        try:
            if found.status == 200:
                return import_keys(found.body)
        except ValueError:
            pass
        raise ProviderUnavailable("the identity provider's keys are no JSON Web Key Set")

    async def _redeem(
        self, metadata: Mapping[str, Any], code: str, verifier: str, redirect_uri: str
    ) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = self._authenticate(metadata, form)
        answer = await self._http.post(metadata["token_endpoint"], form, auth)
        if answer.status == 200:
            return answer.body
        raise _failed(answer)

    def _authenticate(self, metadata: Mapping[str, Any], form: dict[str, str]) -> httpx.BasicAuth | None:
        """Adds to `form` what says who we are, or gives what says it in the header (RFC 6749, 2.3.1)."""
        client_id, secret = self._config.client_id, self._config.client_secret
        if secret is None or not secret.get_secret_value():
            form["client_id"] = client_id
            return None
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in methods:
            return httpx.BasicAuth(quote(client_id, safe=""), quote(secret.get_secret_value(), safe=""))
        form |= {"client_id": client_id, "client_secret": secret.get_secret_value()}
        return None

    async def _claims(self, token: object) -> Mapping[str, Any]:
        if not isinstance(token, str):
            raise LoginRefused("the provider has sent no ID token; the scope openid must be asked for")
        try:
            header = read_header(token, self._config.algorithms, max_chars=_MAX_ID_TOKEN_CHARS)
            if header.type not in (None, "jwt"):
                raise RefusedToken("its typ is not JWT")
            known = await self._keys.get()
            try:
                return _verified(token, header, known)
            except RefusedToken:
                # A token need not name its key: then only the signature shows that it is a new one.
                newer = await self._keys.again()
                if newer is known:
                    raise
                return _verified(token, header, newer)
        except RefusedToken as error:
            raise LoginRefused(f"the provider's ID token is not accepted: {error}") from None

    async def _with_email(self, person: Person, metadata: Mapping[str, Any], token: object) -> Person:
        """Providers may keep the claims of the scope `email` for their userinfo endpoint (Core 1.0, 5.4)."""
        if "userinfo_endpoint" not in metadata or not isinstance(token, str) or not _is_bearer(token):
            return person
        answer = await self._http.get(self._http.check(metadata["userinfo_endpoint"]), bearer=token)
        if answer.status != 200 or subject_of(answer.body) != person.subject:
            raise LoginRefused("the provider's userinfo is not that of who has logged in")
        return Person(person.issuer, person.subject, verified_email(answer.body))


def _verified(token: str, header: Header, published: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    keys = matching(published, header)
    if not keys:
        raise RefusedToken("the provider publishes no such key")
    return verified_claims(token, header, keys)


def _is_bearer(token: str) -> bool:
    return 0 < len(token) <= _MAX_ID_TOKEN_CHARS and token.isascii() and token.isprintable() and " " not in token


def _failed(answer: Answer) -> InvalidGrant | ProviderUnavailable:
    code = str(answer.body.get("error", ""))
    if answer.status == 400 and code in ("invalid_grant", "invalid_request"):
        return InvalidGrant("the identity provider does not accept the code")
    shown = code[:40] if code.isascii() and code.isprintable() else ""
    _log.error("the identity provider refuses the exchange of codes: HTTP %d %s", answer.status, shown)
    return ProviderUnavailable(f"the identity provider refuses to exchange codes (HTTP {answer.status})")

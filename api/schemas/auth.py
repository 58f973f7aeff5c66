"""Logging in on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel, SecretStr

from api.schemas.common import Answer, Request
from domain.access import Kind, Role

_CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # of RFC 7636, appendix B, as is the verifier
_VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
_EXAMPLE = "b3Q0x9f2Jm6s8Vn1Yc4Lr7Tz0Kd5Hp3Wg2Ea6Ui9Xo8"
_OpaqueToken = Annotated[SecretStr, Field(min_length=1, max_length=512)]
_RedirectUri = Annotated[str, Field(min_length=1, max_length=2_000)]


class NewLoginBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "redirect_uri": "https://app.example/callback",
                    "code_challenge": _CHALLENGE,
                    "code_challenge_method": "S256",
                }
            ]
        }
    )

    redirect_uri: _RedirectUri = Field(description="One of those that the platform is set up with, exactly.")
    code_challenge: str = Field(
        pattern=r"^[A-Za-z0-9_-]{43}$", description="base64url of SHA-256 of a verifier that stays with the client."
    )
    code_challenge_method: Literal["S256"]
    invitation: _OpaqueToken | None = Field(
        default=None, description="The token of an invitation, at a person's first login."
    )


class BegunLogin(Answer):
    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "authorization_url": "https://login.example/authorize?response_type=code&state=" + _EXAMPLE,
                    "state": _EXAMPLE,
                    "expires_at": "2026-03-02T14:40:00Z",
                }
            ]
        },
    )

    authorization_url: str = Field(description="Where to send the person; the provider sends him back with a code.")
    state: str = Field(description="Must come back with the code. Good once.")
    expires_at: datetime


class CodeGrantBody(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "grant_type": "authorization_code",
                    "code": "SplxlOBeZQQYbYS6WxSbIA",
                    "state": _EXAMPLE,
                    "code_verifier": _VERIFIER,
                    "redirect_uri": "https://app.example/callback",
                }
            ]
        }
    )

    grant_type: Literal["authorization_code"]
    code: Annotated[SecretStr, Field(min_length=1, max_length=4_096)] = Field(description="From the provider.")
    state: _OpaqueToken
    code_verifier: Annotated[SecretStr, Field(min_length=43, max_length=128)]
    redirect_uri: _RedirectUri


class RefreshGrantBody(Request):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"grant_type": "refresh_token", "refresh_token": _EXAMPLE}]}
    )

    grant_type: Literal["refresh_token"]
    refresh_token: _OpaqueToken


GRANTS: Mapping[str, type[CodeGrantBody] | type[RefreshGrantBody]] = {
    "authorization_code": CodeGrantBody,
    "refresh_token": RefreshGrantBody,
}


class TokenBody(RootModel[Annotated[CodeGrantBody | RefreshGrantBody, Field(discriminator="grant_type")]]):
    """For the contract. The body is read as the one of GRANTS that it says it is, so that faults name plain fields."""


class AccessTokens(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIuLi4ifQ.c2lnbmF0dXJl",
                    "token_type": "Bearer",
                    "expires_in": 600,
                    "refresh_token": _EXAMPLE,
                    "scope": "audit:read orders:read vault:read",
                }
            ]
        }
    )

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a name
    expires_in: int = Field(description="Seconds, of the access token.")
    refresh_token: str = Field(description="Good once; the second use ends the login.")
    scope: str = Field(description="Separated by spaces.")


class LogoutBody(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"everywhere": False}]})

    everywhere: bool = Field(default=False, description="All logins of the caller, not this one alone.")


class Me(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "subject": "F_bob_7hq2m4zt",
                    "kind": "follower",
                    "role": "follower",
                    "tenant_id": "5b1c9d4e-6f0a-4c3b-9a57-0d2f6e1c8b10",
                    "tenant_name": "Olympus Capital",
                    "follower_id": "F_bob_7hq2m4zt",
                    "scopes": ["follower:self"],
                }
            ]
        }
    )

    subject: str
    kind: Kind
    role: Role | None = Field(description="None of a program, which has scopes of its own.")
    tenant_id: str
    tenant_name: str
    follower_id: str | None
    scopes: list[str]


class KeySet(Answer):
    """RFC 7517."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"keys": [{"kty": "EC", "crv": "P-256", "kid": "2026-03", "x": "…", "y": "…"}]}]
        }
    )

    keys: list[dict[str, Any]]

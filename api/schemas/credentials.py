"""Broker credentials on the wire: they go in and never come out."""

from datetime import datetime

from pydantic import Field

from api.schemas.common import Answer
from domain.credentials import Broken, Status, Which


class Credential(Answer):
    which: Which
    cred_ref: str = Field(examples=["cred/F_bob_7hq2m4zt/alpaca"])
    venue: str
    environment: str
    status: Status
    since: datetime = Field(description="When the status began.")
    reason: Broken | None = Field(description="Why it is broken.")
    words: str
    expires_at: datetime | None = Field(description="Of an access token that does not last.")
    refreshes: bool = Field(description="Whether a new access token is fetched before that.")


class Credentials(Answer):
    items: list[Credential]


class CredentialTest(Answer):
    """`ok`: the broker answered for the account. Else `code` and `words` say what was wrong."""

    ok: bool
    code: str = Field(examples=["ok", "bad_credentials", "no_answer"])
    words: str
    credential: Credential
    mended: bool = Field(description="Whether this test has ended the credential's being broken.")

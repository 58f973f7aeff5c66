"""The embedded stack's own random credentials, made once and kept in a private file."""

import base64
import json
import secrets
from pathlib import Path

from joserfc.jwk import ECKey
from pydantic import BaseModel, Field

from settings import EMBEDDED_ONLY
from stack.files import write_private


def _password() -> str:
    # The marker makes the production profile refuse a copy of it.
    return f"{EMBEDDED_ONLY}-{secrets.token_urlsafe(24)}"


def _master_key() -> str:
    return "k1:" + base64.b64encode(secrets.token_bytes(32)).decode()


def _signing_key() -> dict[str, str]:
    key = ECKey.generate_key("P-256", parameters={"use": "sig", "alg": "ES256"}, private=True, auto_kid=True)
    return {name: str(value) for name, value in key.as_dict(private=True).items()}


class Credentials(BaseModel):
    """Every secret of one data directory. `signing_key` is a private ES256 JWK."""

    postgres_admin: str = Field(default_factory=_password, repr=False)
    postgres_owner: str = Field(default_factory=_password, repr=False)
    postgres_app: str = Field(default_factory=_password, repr=False)
    postgres_relay: str = Field(default_factory=_password, repr=False)
    redis: str = Field(default_factory=_password, repr=False)
    nats: str = Field(default_factory=_password, repr=False)
    s3_access_key: str = Field(default_factory=lambda: secrets.token_hex(10), repr=False)
    s3_secret_key: str = Field(default_factory=_password, repr=False)
    master_key: str = Field(default_factory=_master_key, repr=False)
    signing_key: dict[str, str] = Field(default_factory=_signing_key, repr=False)
    stripe_key: str = Field(default_factory=lambda: f"sk_test_{_password()}", repr=False)
    stripe_hook: str = Field(default_factory=lambda: f"whsec_{_password()}", repr=False)
    btcpay_key: str = Field(default_factory=_password, repr=False)
    btcpay_hook: str = Field(default_factory=_password, repr=False)

    @property
    def jwks(self) -> str:
        """The public half, as a JWK Set in JSON."""
        public = ECKey.import_key(dict(self.signing_key)).as_dict(private=False)
        return json.dumps({"keys": [public]})


def load_credentials(path: Path) -> Credentials:
    """Read the file, make what is not in it yet, and write that back (mode 600)."""
    found = Credentials.model_validate_json(path.read_text() if path.exists() else "{}")
    if found.model_fields_set != set(Credentials.model_fields):
        write_private(path, found.model_dump_json(indent=1))
    return found

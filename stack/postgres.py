"""The Postgres server: cluster, configuration, roles, database."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stack.credentials import Credentials
from stack.environment import DATABASE
from stack.errors import StackError
from stack.files import ROOT, Layout
from stack.ports import HOST
from stack.postgres_home import PostgresHome
from stack.probes import accepts
from stack.process import ProcessSpec

ADMIN = "vanta_admin"
ROLES_SQL = ROOT / "deploy" / "postgres" / "roles.sql"
_TOOL_S = 120
# Sized for a 2-core machine that also runs the other servers. Durability settings keep their safe defaults.
_SETTINGS: Mapping[str, str] = {
    "unix_socket_directories": "",  # its path limit of 107 bytes is too short for deep folders
    "max_connections": "120",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "1GB",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "idle_in_transaction_session_timeout": "60s",
    "log_line_prefix": "%m [%p] %u@%d ",
    "logging_collector": "off",
}


def postgres_spec(
    layout: Layout, home: PostgresHome, port: int, credentials: Credentials, extra: Mapping[str, str] | None = None
) -> ProcessSpec:
    """Create the cluster (once) and return how to run it; `extra` are server settings on top. Raises StackError."""
    if not (home.data / "PG_VERSION").exists():
        _init_cluster(home, credentials.postgres_admin)
    options = {**_SETTINGS, **(extra or {}), "listen_addresses": HOST, "port": str(port)}
    flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
    return ProcessSpec(
        name="postgres",
        argv=(str(home.bin / "postgres"), "-D", str(home.data), *flags),
        log=layout.log("postgres"),
        ready=lambda: accepts(port) and _answers(home, port, credentials),
        env=_plain_env(),
        cwd=home.folder,
        address=f"{HOST}:{port}",
        user=home.user,
        stop_signal=signal.SIGINT,  # "fast": drop the clients, write a checkpoint, exit
        stop_timeout_s=30,
        on_ready=lambda: create_roles(home, port, credentials),
    )


def create_roles(home: PostgresHome, port: int, credentials: Credentials) -> None:
    """Create the roles and the database, or set the passwords again. Raises StackError."""
    env = {
        "VANTA_OWNER_PASSWORD": credentials.postgres_owner,
        "VANTA_APP_PASSWORD": credentials.postgres_app,
        "VANTA_RELAY_PASSWORD": credentials.postgres_relay,
    }
    done = _psql(home, port, credentials, ["--file=-"], env, ROLES_SQL.read_text())
    if done.returncode != 0:
        raise StackError(f"postgres: cannot create the roles of database {DATABASE}: {_last(done.stderr)}")


def _init_cluster(home: PostgresHome, password: str) -> None:
    """`initdb` into a draft that is renamed at the end, so that an interrupted run leaves no half cluster."""
    draft = home.folder / "data.new"
    password_file = home.folder / "password"
    password_file.unlink(missing_ok=True)
    fd = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(password)
        if home.user:
            os.chown(password_file, home.user.uid, home.user.gid)
        _run_initdb(home, draft, password_file)
    finally:
        password_file.unlink(missing_ok=True)
    draft.rename(home.data)


def _run_initdb(home: PostgresHome, draft: Path, password_file: Path) -> None:
    args = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    args += ["--auth=scram-sha-256", f"--username={ADMIN}", f"--pwfile={password_file}", "--no-instructions"]
    script = 'rm -rf "$3" && exec "$@"'
    command = ["/bin/sh", "-c", script, "sh", str(home.bin / "initdb"), "-D", str(draft), *args]
    done = _run(home, command, _plain_env(), "")
    if done.returncode != 0:
        raise StackError(f"postgres: initdb failed: {_last(done.stderr or done.stdout)}")


def _answers(home: PostgresHome, port: int, credentials: Credentials) -> bool:
    """Accepts queries, not only connections: recovery after a crash may still be running."""
    return _psql(home, port, credentials, ["--command=SELECT 1"], {}).returncode == 0


def _psql(
    home: PostgresHome, port: int, credentials: Credentials, args: list[str], env: Mapping[str, str], text: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [str(home.bin / "psql"), "-X", "-q", "-h", HOST, "-p", str(port), "-U", ADMIN, "-d", "postgres", *args]
    secrets = {"PGPASSWORD": credentials.postgres_admin, "PGCONNECT_TIMEOUT": "5", **env}
    return _run(home, command, {**_plain_env(), **secrets}, text)


def _run(home: PostgresHome, command: list[str], env: Mapping[str, str], text: str) -> subprocess.CompletedProcess[str]:
    """Run one of Postgres' tools as its user."""
    return subprocess.run(
        command,
        user=home.user.uid if home.user else None,
        group=home.user.gid if home.user else None,
        extra_groups=[] if home.user else None,
        cwd=home.folder,
        env=env,
        input=text,
        capture_output=True,
        text=True,
        timeout=_TOOL_S,
        check=False,
    )


def _plain_env() -> dict[str, str]:
    """Without the caller's PG* variables, which would overrule ours."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "no output"

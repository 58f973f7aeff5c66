"""What people see of a stack: progress, the table of components, the addresses."""

import contextlib
import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stack.state import ComponentState, StackState


def progress(console: Console) -> Callable[[str, str], None]:
    """A line per event; coloured on a terminal, plain elsewhere."""

    def report(component: str, message: str) -> None:
        # A closed terminal or pipe (for which rich exits) must not keep the supervisor from its work.
        with contextlib.suppress(OSError, SystemExit):
            console.print(f"[bold]{component:<21}[/] {escape(message)}", soft_wrap=True, highlight=False)

    return report


def show(console: Console, state: StackState, now: float | None = None) -> None:
    """The table of components and the links."""
    table = Table(box=None, pad_edge=False)
    for heading in ("component", "state", "pid", "address", "uptime"):
        table.add_column(heading, overflow="fold")
    for component in state.components:
        table.add_row(component.name, *_cells(component, now or time.time()))
    console.print(table)
    document = state.connection
    temporal = document.get("temporal")
    links = {"Temporal UI": temporal.get("ui_url") if isinstance(temporal, dict) else None}
    if any(component.name == "api" for component in state.components):
        links = {"API": document.get("api_url"), "API docs": document.get("docs_url"), **links}
    for title, link in {**links, "Logs": document.get("log_dir"), "Settings": document.get("env_file")}.items():
        console.print(f"{title:<12} {link}", soft_wrap=True, highlight=False, markup=False)


def is_healthy(state: StackState) -> bool:
    """Ready, and every component's process is there."""
    return state.phase == "ready" and all(c.identity and c.identity.process() for c in state.components)


def _cells(component: ComponentState, now: float) -> tuple[str, str, str, str]:
    if component.identity is None or component.identity.process() is None:
        return "stopped", "-", component.address, "-"
    state = f"running ({component.restarts} restarts)" if component.restarts else "running"
    return state, str(component.identity.pid), component.address, _duration(now - component.started_at)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"

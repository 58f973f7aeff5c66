"""`vanta demo`: two vaults, 28 followers and a queue, on real servers; exit code 0 only if all ended as it must.

Its data directory is its own and is emptied first, so that every run is a fresh one.
"""

import asyncio
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console

from settings import Settings
from stack import Stack, control
from stack.demo_cast import CASTS
from stack.demo_check import check
from stack.demo_facts import Inquiry
from stack.demo_live import Live
from stack.demo_play import Play
from stack.demo_scenario import load_script
from stack.demo_show import show_end, show_links
from stack.demo_stage import Simulators, Stage
from stack.demo_watch import Watch
from stack.embedded import Report
from stack.errors import StackError
from stack.files import Layout
from stack.seed import open_database
from stack.supervisor import Supervisor
from stack.view import progress

_ORDERS_S = 120  # the retry schedule alone takes 81 s, give or take a tenth
DEFAULT_DATA = Path(".vanta/demo")


class DemoStack(Stack):
    """The embedded stack with the simulators beside it and a queue to read."""

    def __init__(self, data_dir: Path, report: Report) -> None:
        super().__init__(data_dir, report=report)
        self.simulators = Simulators.choose()

    @property
    def queue(self) -> Path:
        return self.layout.data / "autotrade_queue.json"

    def env(self) -> dict[str, str]:
        return {
            **super().env(),
            "VANTA_ALPACA__PAPER_URL": self.simulators.alpaca,
            "VANTA_ALPACA__DATA_URL": self.simulators.alpaca,
            "VANTA_INGEST__QUEUE_PATH": str(self.queue),
            "VANTA_INGEST__EVERY_S": "1",
        }

    def start_processes(self) -> None:
        self.simulators.start(self)
        super().start_processes()


def run_demo(data: Path = DEFAULT_DATA, *, keep: bool = False, console: Console | None = None) -> int:
    """Run it to its end; the exit code. `keep` leaves everything running until Ctrl-C. Raises StackError."""
    console = console or Console()
    layout = Layout(data.absolute())
    if control.running(layout):
        raise StackError(f"a demonstration is running already; stop it with: vanta down --data {data}")
    _start_afresh(layout)
    began = time.monotonic()
    stack = DemoStack(layout.data, progress(console))
    passed: list[bool] = []

    def perform(_state: object) -> None:
        passed.append(asyncio.run(_perform(stack, stack.settings(), console, began, keep=keep)))

    console.rule("Starting the real servers", align="left")
    if not Supervisor(stack, progress(console)).run(perform, watch=keep) or not passed:
        return 130
    if not keep:
        console.print(f"\nTo look around while it runs:     {_command('demo --keep')}", highlight=False)
        console.print(f"To bring this run's servers back: {_command(f'up --data {data}')}", highlight=False)
    return 0 if passed[0] else 1


def _start_afresh(layout: Layout) -> None:
    """Empty the folder, if a demonstration made it: `--data` may have been given by mistake."""
    marker = layout.data / "demonstration"
    if layout.data.exists() and any(layout.data.iterdir()) and not marker.exists():
        raise StackError(f"{layout.data} was not made by a demonstration, which would empty it; choose another --data")
    control.down(layout)
    control.remove_data(layout)
    layout.prepare()
    marker.touch()


async def _perform(stack: DemoStack, settings: Settings, console: Console, began: float, *, keep: bool) -> bool:
    """Everything between "all is ready" and the verdict."""
    script = load_script(CASTS)
    stage = Stage(settings, stack.simulators)
    show_links(console, settings)
    enrolled = await stage.set(CASTS)
    console.print(f"{len(enrolled)} followers of {len(CASTS)} vaults enrolled over the API", highlight=False)
    database = open_database(settings)
    try:
        with Live(console, enrolled) as live:
            finished = await Watch(database, script, enrolled, stack.queue).run(live.look, _ORDERS_S)
        facts = await Inquiry(settings, database, stage, stack.queue).gather(script, enrolled)
    finally:
        await database.close()
    play = Play(script, enrolled, facts)
    checks = check(play)
    show_end(console, play, checks, settings)
    passed = finished and all(c.ok for c in checks)
    verdict = "[bold green]All as it should be[/]" if passed else "[bold red]Not as it should be[/]"
    console.print(f"\n{verdict} after {time.monotonic() - began:.0f} s.", highlight=False)
    if not finished:
        console.print(f"[red]The orders had not settled after {_ORDERS_S} s.[/]", highlight=False)
    if not passed:
        console.print(f"Logs: {stack.layout.logs}", highlight=False, markup=False, soft_wrap=True)
    if keep:
        show_links(console, settings)
        console.print("Everything keeps running; Ctrl-C stops it.", highlight=False)
    return passed


def _command(arguments: str) -> str:
    """As the person would have to type it."""
    program = Path(sys.argv[0]).absolute()
    on_path = shutil.which("vanta") == str(program) or not program.is_relative_to(Path.cwd())
    return f"[bold]{'vanta' if on_path else program.relative_to(Path.cwd())} {arguments}[/]"

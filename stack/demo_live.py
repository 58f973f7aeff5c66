"""What people see while the orders run: a table that changes on a terminal, a line per change elsewhere."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from domain.orders import FollowerState
from domain.retry import MAX_ATTEMPTS
from stack.demo_stage import Enrolled
from stack.demo_watch import Progress, Waiting

STYLES: Mapping[str, str] = {
    "confirmed": "green", "settled": "green", "shadowed": "cyan", "skipped": "cyan", "killed": "magenta",
    "rejected": "red", "dead_letter": "bold red", "settled_with_errors": "yellow", "retry": "yellow",
    "unknown": "yellow", "sent": "blue", "ack": "blue", "partially_filled": "blue", "dispatching": "blue",
}  # fmt: skip


class Live:
    """`look` takes the readings of `stack.demo_watch`. Use as a context manager."""

    def __init__(self, console: Console, enrolled: Sequence[Enrolled]) -> None:
        self._console = console
        self._labels = {e.follower_id: e.member.label for e in enrolled}
        self._table = RichLive(console=console, auto_refresh=False) if console.is_terminal else None
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        self._console.rule("Mirroring", align="left")
        if self._table:
            self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table:
            self._table.stop()

    def look(self, readings: Sequence[Progress], elapsed_s: float) -> None:
        if self._table:
            self._table.update(self._render(readings, elapsed_s), refresh=True)
        else:
            self._say(readings, elapsed_s)

    def _render(self, readings: Sequence[Progress], elapsed_s: float) -> RenderableType:
        table = Table(box=None, pad_edge=False, title=f"{elapsed_s:5.1f} s", title_justify="left")
        table.add_column("manager order", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("follower orders")
        for reading in readings:
            state = reading.state or "in the queue"
            table.add_row(reading.order.title, Text(state, STYLES.get(state, "dim")), _counts(reading))
        waiting = [Text(f"  {self._waits(w)}", "yellow") for r in readings for w in _soonest(r)]
        return Group(table, *waiting)

    def _say(self, readings: Sequence[Progress], elapsed_s: float) -> None:
        lines = [f"{r.order.title}: {r.state}: {_counts(r).plain}" for r in readings if r.state]
        for line in lines:
            self._once(line, line, elapsed_s)
        for reading in readings:
            for waiting in reading.waiting:
                self._once(
                    f"{reading.order.mo_id} {waiting.follower_id} {waiting.attempts}", self._waits(waiting), elapsed_s
                )

    def _once(self, key: str, line: str, elapsed_s: float) -> None:
        if key not in self._said:
            self._said.add(key)
            self._console.print(f"{elapsed_s:6.1f} s  {line}", soft_wrap=True, highlight=False, markup=False)

    def _waits(self, waiting: Waiting) -> str:
        label, error = self._labels[waiting.follower_id], waiting.error.partition(":")[0]
        when = f"in {waiting.due_in_s:.0f} s" if waiting.due_in_s > 0 else "now"
        done = waiting.attempts
        return f"{label}: attempt {done} failed ({error}); attempt {done + 1} of {MAX_ATTEMPTS} {when}"


def _soonest(reading: Progress) -> list[Waiting]:
    return sorted(reading.waiting, key=lambda w: w.due_in_s)


def _counts(reading: Progress) -> Text:
    parts = [
        Text(f"{reading.states[state]} {state.value}", STYLES.get(state.value, ""))
        for state in FollowerState
        if reading.states.get(state)
    ]
    return Text(" · ").join(parts)

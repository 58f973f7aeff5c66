"""The overlays' activities under their real names, on rows in memory and the server's own clock."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio import activity

from activities.errors import translated
from domain.errors import VantaError
from domain.flip_mode import EndOverlay, ExtendOverlay, StartOverlay
from domain.overlays import EndReason, Overlay, extended


class FakeOverlays:
    """`calls` holds what was called and when; `refusal` is what the next start hears."""

    def __init__(self, clock: Callable[[], Awaitable[datetime]]) -> None:
        self.rows: dict[str, Overlay] = {}
        self.calls: list[tuple[str, str, datetime]] = []
        self.refusal: VantaError | None = None
        self._clock = clock

    def all(self) -> list[Callable[..., Any]]:
        return [self.start_overlay, self.extend_overlay, self.end_overlay]

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    @activity.defn
    async def start_overlay(self, start: StartOverlay) -> Overlay:
        now = await self._called("start", start.overlay_id)
        async with translated():
            if self.refusal is not None:
                raise self.refusal
        new = start.new
        assert new.ttl is not None
        row = Overlay(
            start.overlay_id, new.kind, new.vault_id, new.follower_id, new.params, now, expires_at=now + new.ttl
        )
        return self.rows.setdefault(start.overlay_id, row)

    @activity.defn
    async def extend_overlay(self, change: ExtendOverlay) -> Overlay:
        now = await self._called("extend", change.overlay_id)
        row = self.rows[change.overlay_id]
        async with translated():
            row = self.rows[change.overlay_id] = replace(row, expires_at=extended(row, change.ttl, now))
        return row

    @activity.defn
    async def end_overlay(self, change: EndOverlay) -> Overlay:
        now = await self._called("end", change.overlay_id)
        row = self.rows[change.overlay_id]
        assert row.expires_at is not None
        due = row.expires_at <= now
        if row.end_reason is None and (due or change.reason is EndReason.CANCELLED):
            at, reason = (row.expires_at, EndReason.EXPIRED) if due else (now, change.reason)
            row = self.rows[change.overlay_id] = replace(row, ended_at=at, end_reason=reason)
        return row

    async def _called(self, name: str, overlay_id: str) -> datetime:
        now = await self._clock()
        self.calls.append((name, overlay_id, now))
        return now

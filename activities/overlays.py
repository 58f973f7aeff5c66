"""The steps of the workflow that owns a flip's or a boost's time: start, extend and end the overlay's row."""

from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import translated
from domain.flip_mode import EndOverlay, ExtendOverlay, StartOverlay
from domain.overlays import Overlay

if TYPE_CHECKING:
    from adapters.store.overlays import OverlayStore


class OverlayActivities:
    """Each may be repeated: the store finds what an earlier call has done."""

    def __init__(self, store: "OverlayStore") -> None:
        self._store = store

    @activity.defn
    async def start_overlay(self, start: StartOverlay) -> Overlay:
        async with translated():
            await self._store.start(start)
            # As it stands and not as it was started: a repeat may come after an extension.
            return await self._store.find(start.tenant_id, start.overlay_id)

    @activity.defn
    async def extend_overlay(self, change: ExtendOverlay) -> Overlay:
        async with translated():
            return await self._store.extend(change)

    @activity.defn
    async def end_overlay(self, change: EndOverlay) -> Overlay:
        async with translated():
            return await self._store.end(change)

"""Payment system → adapter. A new one is one line in `build_billers`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from domain.billing import Biller, Provider
from domain.plans import Catalogue

if TYPE_CHECKING:
    from settings import Settings


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


def build_billers(settings: "Settings", catalogue: Catalogue) -> dict[Provider, Biller]:  # noqa: ARG001  none yet
    """Those that the settings name; give them to `close_billers` at the end."""
    return {}


async def close_billers(billers: Mapping[Provider, Biller]) -> None:
    """Close the connections of every adapter that holds some."""
    for biller in billers.values():
        if isinstance(biller, _Closable):
            await biller.close()

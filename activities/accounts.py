"""Read a follower's broker account: the secret is opened here, used, and forgotten."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from activities.sending import open_credentials
from domain.books import BrokerKey, Statement
from domain.errors import SecretUnavailable, VenueError
from domain.ports import Broker, BrokerCredentials, MoneyBroker

if TYPE_CHECKING:
    from adapters.secretbox import SecretBox

_log = logging.getLogger("vanta.accounts")
# The venue's clock may be behind ours.
_OVERLAP = timedelta(minutes=5)


class Accounts:
    def __init__(self, brokers: Mapping[str, Broker], box: "SecretBox") -> None:
        self._brokers = brokers
        self._box = box

    async def read(self, given: BrokerKey, since: datetime) -> Statement:
        """Never raises: a venue that is down or a credential that is broken is what the statement says."""
        try:
            broker, credentials = self._broker(given), self._credentials(given)
            money = await broker.account(credentials)
            # Before the orders: what fills in between then is an order more, and not a position that none explains.
            positions = await broker.positions(credentials)
            orders = await broker.orders_since(credentials, since - _OVERLAP)
            balances = await broker.balances(credentials) if isinstance(broker, MoneyBroker) else None
        except (VenueError, SecretUnavailable) as error:
            return Statement(unreachable=f"{error.code}: {error}"[:300])
        except Exception as error:  # noqa: BLE001  a fault of ours with one account must not end the others' page
            _log.exception("reading an account at %s failed", given.venue)
            return Statement(unreachable=f"internal_error: {type(error).__name__}")
        return Statement(positions, orders, money, balances=balances)

    async def open(self, given: BrokerKey) -> tuple[Broker, BrokerCredentials]:
        """For who keeps a connection of the account's. Raises SecretUnavailable."""
        return self._broker(given), self._credentials(given)

    def _broker(self, given: BrokerKey) -> Broker:
        broker = self._brokers.get(given.venue)
        if broker is None:
            raise SecretUnavailable(f"no adapter for venue {given.venue!r} in this worker")
        return broker

    def _credentials(self, given: BrokerKey) -> BrokerCredentials:
        return open_credentials(self._box, given.key, given.environment)

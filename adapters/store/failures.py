"""Which of the driver's exceptions mean that the database is out of reach or too slow, and not that we are wrong."""

import psycopg
from sqlalchemy import exc

# psycopg.OperationalError covers refused and lost connections and statements cancelled by their time-out.
UNAVAILABLE: tuple[type[Exception], ...] = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,  # no connection of the pool became free
    psycopg.OperationalError,
    psycopg.InterfaceError,
)

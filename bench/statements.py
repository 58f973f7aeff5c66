"""What the product asks of Postgres, counted by the server itself (pg_stat_statements)."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from stack import Stack
from stack.credentials import load_credentials
from stack.environment import DATABASE
from stack.ports import HOST
from stack.postgres import ADMIN

# Commit times are kept so that the bench reads when an order was confirmed instead of polling for it.
SERVER_SETTINGS: Mapping[str, str] = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "pg_stat_statements.max": "10000",
    "track_commit_timestamp": "on",
}
_READ = """
SELECT queryid, min(query) AS query, sum(calls)::bigint AS calls, sum(total_exec_time) AS ms
FROM pg_stat_statements WHERE userid = 'vanta_app'::regrole GROUP BY queryid
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the application role: `calls` includes BEGIN and COMMIT, each of them a round trip too."""

    query: str
    calls: int
    ms: float


Reading = Mapping[int, Statement]


class Statements:
    """Reads as the server's administrator, whom the application's count leaves out."""

    def __init__(self, stack: Stack) -> None:
        password = load_credentials(stack.layout.credentials).postgres_admin
        self._where = {
            "host": HOST, "port": str(stack.ports()["postgres"]), "user": ADMIN, "password": password,
            "dbname": DATABASE, "connect_timeout": "10",
        }  # fmt: skip

    async def install(self) -> None:
        async with await self._connect() as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    async def read(self) -> Reading:
        async with await self._connect() as connection:
            rows = await (await connection.execute(_READ)).fetchall()
        return {row[0]: Statement(row[1], row[2], row[3]) for row in rows}

    async def _connect(self) -> psycopg.AsyncConnection[tuple[int, str, int, float]]:
        return await psycopg.AsyncConnection.connect(psycopg.conninfo.make_conninfo(**self._where))


def between(before: Reading, after: Reading) -> list[Statement]:
    """What was executed from one reading to the next, the most expensive first."""
    none = Statement("", 0, 0.0)
    done = [
        Statement(" ".join(s.query.split()), s.calls - before.get(key, none).calls, s.ms - before.get(key, none).ms)
        for key, s in after.items()
    ]
    return sorted((s for s in done if s.calls), key=lambda s: -s.ms)

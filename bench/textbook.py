"""What a textbook Temporal application does with a manager order, for comparison only."""

import asyncio
import time
import uuid

import psycopg

from bench.measure import TIMEOUT_S, Bench, Run, drain, run_of
from bench.textbook_activities import SCHEMA, Order
from bench.textbook_workflows import TextbookOrder

QUEUE = "bench-textbook"
# One parent of 10,000 breaks the engine's limits: 2,000 pending children, 51,200 events.
CHILDREN = 1_000

# The moment of the commit, which the bench's server keeps.
_WRITTEN = """
SELECT (SELECT count(*) FROM bench.follower_orders WHERE order_id = %(order)s AND state = 'confirmed'), count(*),
  max(extract(epoch FROM pg_xact_commit_timestamp(xmin)))
FROM bench.audit_events WHERE order_id = %(order)s
"""


async def textbook(bench: Bench, vault_id: str, followers: int) -> Run:
    """One child workflow per follower, four activities in each, defaults throughout.

    Parents have 1,000 children each and start at once. Times are from just before the first start. Raises
    RuntimeError when a follower's rows are missing in the end.
    """
    await drain(bench)
    order_id = uuid.uuid4().hex
    async with await _connect(bench) as connection:
        await connection.execute(SCHEMA)
    began, wall = time.monotonic(), time.time()
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(
            *(
                bench.temporal.execute_workflow(
                    TextbookOrder.run,
                    Order(order_id, vault_id, offset, min(CHILDREN, followers - offset)),
                    id=f"textbook/{order_id}/{offset}",
                    task_queue=QUEUE,
                )
                for offset in range(0, followers, CHILDREN)
            )
        )
    confirmed = await _written(bench, order_id, followers) - wall
    run = run_of(await drain(bench), began)
    return Run(run.arrivals, run.sent_twice, confirmed)


async def _written(bench: Bench, order_id: str, followers: int) -> float:
    """When the last row was committed, in unix seconds."""
    async with await _connect(bench) as connection:
        found = await connection.execute(_WRITTEN, {"order": order_id})
        row = await found.fetchone()
    assert row is not None
    orders, events, committed = row
    # An activity that ran twice has written twice.
    if orders != followers or events < followers:
        raise RuntimeError(f"the textbook confirmed {orders} and audited {events} of {followers} orders")
    return float(committed)


async def _connect(bench: Bench) -> psycopg.AsyncConnection:
    owner = bench.settings.postgres.owner_dsn
    assert owner is not None
    return await psycopg.AsyncConnection.connect(owner.get_secret_value(), autocommit=True)

"""For what runs until it is cancelled.

Before Python 3.12 `asyncio.wait_for` forgets a cancellation that comes in the very tick in which what it waits for is
done (CPython issue 86296), and redis-py and nats-py wait that way at every command. A loop around them that trusts in
CancelledError alone may never end.
"""

import asyncio


def wanted() -> bool:
    """Whether nobody has cancelled the task that asks, told or forgotten."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()

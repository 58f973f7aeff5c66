"""Time-outs and retry policies, by kind of activity. The 1/5/15/60 s schedule is not here: see domain/retry.py."""

from datetime import timedelta

from temporalio.common import RetryPolicy

# A database write: short, safe to repeat, retried until the database is back.
STORE_TIMEOUT = timedelta(seconds=30)
STORE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
)
# A step of a flatten waits for the workflows that own a scope's orders, one after another.
FLATTEN_TIMEOUT = timedelta(minutes=5)
FLATTEN_HEARTBEAT = timedelta(seconds=15)
# As a local activity it is repeated within its workflow task while the waits are short, and by timers then.
STORE_RETRY_LOCALLY = timedelta(seconds=2)

# A wave's time-out covers a page of receivers that all answer at the last moment, several rounds of them; the
# heartbeat tells within seconds that its worker is gone. It is never repeated: the children own what it left.
WAVE_TIMEOUT = timedelta(minutes=3)
WAVE_HEARTBEAT = timedelta(seconds=6)
# A wave lasts as long as its slowest receiver, but a retry is due in a second: what is due is handed over meanwhile.
WAVE_LOOK = timedelta(seconds=1)
# With no worker to start it soon, the children do without: they wait for a worker anyway.
WAVE_PICKUP = timedelta(minutes=1)
ONCE = RetryPolicy(maximum_attempts=1)

# One attempt of one order: 10 s on the wire and the writes around it. Whether and when it runs again is what the
# activity says with next_retry_delay; the interval here only serves crashes of our own.
ATTEMPT_TIMEOUT = timedelta(seconds=25)
ATTEMPT_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
)
# After this long an order whose fate the venue does not tell becomes a dead letter for a person to look at.
ATTEMPT_GIVE_UP = timedelta(hours=24)
CANCEL_GIVE_UP = timedelta(minutes=10)

# A page of a hundred accounts, eight at once, three requests of 10 s each where a venue hardly answers.
PAGE_TIMEOUT = timedelta(minutes=10)
PAGE_HEARTBEAT = timedelta(seconds=10)
PAGE_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1),
    maximum_attempts=10,
)  # fmt: skip
# A shard of streams runs until it is ended; the heartbeat tells within seconds that its worker is gone. It never gives
# up: whatever goes wrong with an account is waited for inside.
STREAM_TIMEOUT = timedelta(days=30)
STREAM_WATCH_TIMEOUT = timedelta(hours=1)
STREAM_HEARTBEAT = timedelta(seconds=8)
STREAM_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
)
# What somebody asked for must not start or change half an hour later, when the database is back.
OVERLAY_CHANGE_WITHIN = timedelta(minutes=1)
# A few requests to a payment system, 20 s each at the worst. What somebody asked for must not come about long after he
# was told that it failed; a look may wait for the database, and is tried again later. Of a worker that dies the
# heartbeat tells, early enough for another one to do it within that minute.
BILLING_TIMEOUT = timedelta(minutes=2)
BILLING_HEARTBEAT = timedelta(seconds=10)
BILLING_CHANGE_WITHIN = timedelta(minutes=1)
BILLING_LOOK_WITHIN = timedelta(minutes=30)
BILLING_LOOK_AGAIN = timedelta(minutes=5)

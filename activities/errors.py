"""The map from our errors to Temporal's: what is retried, when, and what is never retried."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.errors import NotEntitled, VantaError

# What rides a failure lands in history and in the web UI; the limit keeps it far below a payload's.
MAX_TEXT = 2_000

RETRY_LATER = "RetryLater"
STILL_OPEN = "StillOpen"


def again_in(message: str, wait: timedelta, kind: str) -> ApplicationError:
    """An expected failure: try again after exactly `wait`. It is benign: nothing of ours is wrong."""
    return ApplicationError(
        message[:MAX_TEXT], type=kind, next_retry_delay=wait, category=ApplicationErrorCategory.BENIGN
    )


@asynccontextmanager
async def translated(*, but: tuple[type[VantaError], ...] = ()) -> AsyncIterator[None]:
    """Raise our errors as ApplicationError with their code as type; those that are not retryable end the activity.

    Those of `but` pass as they are.
    """
    try:
        yield
    except but:
        raise
    except VantaError as error:
        plans = error.plans if isinstance(error, NotEntitled) else ()
        raise ApplicationError(
            str(error)[:MAX_TEXT], *plans, type=error.code, non_retryable=not error.retryable
        ) from error

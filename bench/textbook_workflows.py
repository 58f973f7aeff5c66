"""The textbook's workflows: a child per follower, and in each child four activities one after another."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from bench.textbook_activities import Follower, Order, Sized, TextbookActivities

# The one option that an activity cannot do without.
_TIMEOUT = timedelta(seconds=30)


@workflow.defn
class TextbookOrder:
    @workflow.run
    async def run(self, order: Order) -> None:
        followers = await workflow.execute_activity_method(
            TextbookActivities.list_followers, order, start_to_close_timeout=_TIMEOUT
        )
        await asyncio.gather(
            *(
                workflow.execute_child_workflow(
                    TextbookFollower.run, Follower(order.order_id, follower), id=f"textbook/{order.order_id}/{follower}"
                )
                for follower in followers
            )
        )


@workflow.defn
class TextbookFollower:
    @workflow.run
    async def run(self, follower: Follower) -> None:
        sized: Sized = await workflow.execute_activity_method(
            TextbookActivities.size, follower, start_to_close_timeout=_TIMEOUT
        )
        await workflow.execute_activity_method(TextbookActivities.dispatch, sized, start_to_close_timeout=_TIMEOUT)
        await workflow.execute_activity_method(TextbookActivities.confirm, follower, start_to_close_timeout=_TIMEOUT)
        await workflow.execute_activity_method(TextbookActivities.audit, follower, start_to_close_timeout=_TIMEOUT)

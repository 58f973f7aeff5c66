"""From a request to redrive dead letters to what became of each of them."""

import asyncio
from collections.abc import Sequence

from api.schemas.dead_letters import Outcome, RedriveAnswer, RedriveBody, RedriveResult
from api.services import Services
from domain.access import Principal
from domain.intents import fingerprint
from domain.mirroring import RedriveVerdict
from domain.orders import LetterState
from domain.redrive import LetterFilter, Redrivable
from domain.requests import Once
from temporal.orders import EngineUnavailable


async def redrive(services: Services, caller: Principal, key: str, body: RedriveBody) -> tuple[RedriveAnswer, bool]:
    """What became of each letter, and whether an earlier request under the key was told so already.

    A repeat is about the letters that the first request was about. As long as a verdict is missing no answer is kept,
    so that it can be heard. Raises InvalidInput, IdempotencyKeyReused, and EngineUnavailable if nothing was started.
    """
    body.check()
    digest = fingerprint(body.model_dump(mode="json"))
    once = Once("redrive_dead_letters", key, digest)
    known = await services.letters.earlier_answer(caller.tenant_id, once)
    if known is not None:
        return RedriveAnswer.model_validate(known), True
    of_filter = LetterFilter(**(body.filter.model_dump() if body.filter else {}), state=LetterState.OPEN)
    wanted = body.dead_letter_ids or of_filter
    selecting = Once("redrive_dead_letters.selection", key, digest)
    selection = await services.letters.select(caller.tenant_id, wanted, body.limit, once=selecting)
    if selection.letters:
        await services.redrives.ready()
    tasks = (_one(services, number, selection.letters.get(number), caller.actor) for number in selection.ids)
    answer = _answer(await asyncio.gather(*tasks), more=selection.more)
    if answer.pending:
        return answer, False
    kept = await services.letters.keep_answer(caller.tenant_id, once, answer.model_dump(mode="json"))
    return RedriveAnswer.model_validate(kept), False


async def _one(services: Services, number: int, letter: Redrivable | None, actor: str) -> RedriveResult:
    if letter is None:
        return RedriveResult(
            dead_letter_id=number, outcome=Outcome.REFUSED, code="not_found", reason="there is no such dead letter"
        )
    try:
        verdict = await services.redrives.redrive(letter, actor=actor)
    except EngineUnavailable as error:
        return RedriveResult(
            dead_letter_id=number, fo_id=letter.fo_id, outcome=Outcome.PENDING, code="pending", reason=str(error)
        )
    return _told(verdict)


def _told(verdict: RedriveVerdict) -> RedriveResult:
    return RedriveResult(
        dead_letter_id=verdict.dead_letter_id,
        fo_id=verdict.fo_id,
        outcome=Outcome.REDRIVEN if verdict.redriven else Outcome.REFUSED,
        state=verdict.state,
        code=verdict.code,
        reason=verdict.reason,
    )


def _answer(items: Sequence[RedriveResult], *, more: bool) -> RedriveAnswer:
    counts = [item.outcome for item in items]
    return RedriveAnswer(
        items=list(items),
        redriven=counts.count(Outcome.REDRIVEN),
        refused=counts.count(Outcome.REFUSED),
        pending=counts.count(Outcome.PENDING),
        more=more,
    )

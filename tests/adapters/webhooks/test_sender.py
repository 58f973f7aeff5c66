"""One POST, one outcome: what each failure of a real connection proves."""

import asyncio
import gzip
import time
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from adapters.webhooks import AiohttpWebhookSender
from domain.ports import OutcomeKind, ReportedFill, WebhookRequest
from simulators.receiver import Behaviour, Receiver
from tests.adapters.webhooks.conftest import BODY, KEY, LOOPBACK, raw_server, read_request, request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def test_a_delivery_is_acknowledged_and_verifies_in_both_forms(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY)
    outcome = await sender.send(request(receiver.url("F_1")))
    assert (outcome.kind, outcome.code, outcome.http_status) == (OutcomeKind.ACK, "ack", 200)
    (delivery,) = receiver.deliveries()
    assert delivery.body == BODY.decode()
    assert [(r.vanta_valid, r.standard_valid) for r in delivery.receptions] == [(True, True)]


async def test_fills_in_the_answer_are_reported(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(fill_price="101.5"))
    outcome = await sender.send(request(receiver.url("F_1"), "FO-7"))
    assert outcome.fills == (ReportedFill("FO-7-1", Decimal(5), Decimal("101.5")),)


@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        (Behaviour(kind="fail", status=500), OutcomeKind.RETRYABLE, "http_500"),
        (Behaviour(kind="fail", status=409), OutcomeKind.RETRYABLE, "http_409"),
        (Behaviour(kind="fail", status=422), OutcomeKind.FINAL, "http_422"),
        (Behaviour(kind="fail", status=410), OutcomeKind.FINAL, "gone"),
        (Behaviour(kind="hang"), OutcomeKind.AMBIGUOUS, "no_answer"),
        (Behaviour(kind="drop"), OutcomeKind.AMBIGUOUS, "no_answer"),
        (Behaviour(delay_ms=100), OutcomeKind.ACK, "ack"),
    ],
)
async def test_each_behaviour_of_a_receiver_has_its_outcome(
    receiver: Receiver, sender: AiohttpWebhookSender, behaviour: Behaviour, kind: OutcomeKind, code: str
):
    receiver.expect("F_1", key=KEY, behaviour=behaviour)
    outcome = await sender.send(request(receiver.url("F_1")))
    assert (outcome.kind, outcome.code) == (kind, code)
    assert [d.received for d in receiver.deliveries()] == [1]


async def test_retry_after_reaches_the_outcome(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="fail", status=429, retry_after="17"))
    assert (await sender.send(request(receiver.url("F_1")))).retry_after_s == 17


async def test_retry_after_as_a_date_is_measured_from_the_given_clock(receiver: Receiver):
    now = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
    receiver.expect(
        "F_1", key=KEY, behaviour=Behaviour(kind="fail", status=503, retry_after="Wed, 01 Jul 2026 12:00:20 GMT")
    )
    async with AiohttpWebhookSender(allowed_networks=LOOPBACK, now=lambda: now) as sender:
        assert (await sender.send(request(receiver.url("F_1")))).retry_after_s == 20


async def test_a_resend_after_an_ambiguous_answer_is_processed_once(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="process_then_hang", times=1))
    first = await sender.send(request(receiver.url("F_1")))
    second = await sender.send(request(receiver.url("F_1")))
    assert (first.kind, second.kind) == (OutcomeKind.AMBIGUOUS, OutcomeKind.ACK)
    assert [(d.received, d.processed) for d in receiver.deliveries()] == [(2, 1)]


async def test_an_answer_beyond_the_bound_is_not_read_and_still_an_ack(receiver: Receiver):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="huge", huge_bytes=2_000_000_000))
    async with AiohttpWebhookSender(allowed_networks=LOOPBACK, max_response_bytes=4096) as sender:
        started = time.monotonic()
        outcome = await sender.send(request(receiver.url("F_1")))
    assert outcome.kind is OutcomeKind.ACK
    assert "too long" in outcome.detail
    assert time.monotonic() - started < 5  # two gigabytes take longer


@pytest.mark.parametrize(("bound", "fills"), [(300, 1), (200, 0)])
async def test_the_bound_on_answers_is_the_configured_one(receiver: Receiver, bound: int, fills: int):
    answer = '{"fills": [{"fill_id": "x", "qty": "1", "price": "2"}]}'.ljust(250)
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(answer=answer))
    async with AiohttpWebhookSender(allowed_networks=LOOPBACK, max_response_bytes=bound) as sender:
        assert len((await sender.send(request(receiver.url("F_1")))).fills) == fills


async def test_a_body_that_drips_is_cut_off_in_time_and_still_an_ack(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="drip"))
    started = time.monotonic()
    outcome = await sender.send(request(receiver.url("F_1")))
    assert 0.4 < time.monotonic() - started < 2
    assert outcome.kind is OutcomeKind.ACK
    assert "incomplete" in outcome.detail


async def test_a_head_that_drips_is_cut_off_in_time_and_proves_nothing(sender: AiohttpWebhookSender):
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(handle) as port:
        started = time.monotonic()
        outcome = await sender.send(request(f"http://127.0.0.1:{port}/"))
        assert time.monotonic() - started < 2
    assert (outcome.kind, outcome.code) == (OutcomeKind.AMBIGUOUS, "no_answer")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00\xff\x00\xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX:" + b"y" * 20_000,
    ],
)
async def test_a_connection_that_ends_or_talks_nonsense_after_the_request_proves_nothing(
    sender: AiohttpWebhookSender, answer: bytes
):
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(answer)

    async with raw_server(handle) as port:
        outcome = await sender.send(request(f"http://127.0.0.1:{port}/"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.AMBIGUOUS, "no_answer")


async def test_an_answer_cut_short_after_a_2xx_is_an_ack(sender: AiohttpWebhookSender):
    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"fills": [')

    async with raw_server(handle) as port:
        outcome = await sender.send(request(f"http://127.0.0.1:{port}/"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.ACK, "ack")
    assert "incomplete" in outcome.detail


async def test_a_kept_connection_is_used_again_and_its_reset_after_a_request_proves_nothing(
    sender: AiohttpWebhookSender,
):
    connections: list[int] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        connections.append(0)
        while await read_request(reader):
            connections[-1] += 1
            if connections[-1] == 3:
                writer.transport.abort()
                return
            writer.write(OK)

    async with raw_server(handle) as port:
        codes = [(await sender.send(request(f"http://127.0.0.1:{port}/"))).code for _ in range(4)]
    assert codes == ["ack", "ack", "no_answer", "ack"]
    assert connections == [3, 1]


async def test_a_kept_connection_that_the_server_closed_while_idle_is_replaced(sender: AiohttpWebhookSender):
    closed = asyncio.Event()

    async def handle(reader: Reader, writer: Writer) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with raw_server(handle) as port:
        first = await sender.send(request(f"http://127.0.0.1:{port}/"))
        await asyncio.wait_for(closed.wait(), 5)
        second = await sender.send(request(f"http://127.0.0.1:{port}/"))
    assert first.code == "ack"
    # Whether the close is seen before the next write is the network's affair; a false "not sent" is what must not be.
    assert second.code in {"ack", "no_answer"}


async def test_cookies_are_not_kept_and_nothing_compressed_is_asked_for_or_unpacked(sender: AiohttpWebhookSender):
    heads: list[bytes] = []
    packed = gzip.compress(b'{"fills": [{"fill_id": "x", "qty": "1", "price": "2"}]}')

    async def handle(reader: Reader, writer: Writer) -> None:
        while head := await read_request(reader):
            heads.append(head.lower())
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(packed), packed))

    async with raw_server(handle) as port:
        outcomes = [await sender.send(request(f"http://127.0.0.1:{port}/")) for _ in range(2)]
    assert [(o.code, o.fills) for o in outcomes] == [("ack", ())] * 2
    assert not any(b"cookie" in head for head in heads)
    assert all(b"accept-encoding: identity\r\n" in head for head in heads)


@pytest.mark.parametrize("kind", ["hang", "drop", "fail", "redirect"])
async def test_no_part_of_the_urls_query_is_in_an_outcome(receiver: Receiver, sender: AiohttpWebhookSender, kind: str):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour.model_validate({"kind": kind}))
    for url in (receiver.url("F_1"), "http://127.0.0.1:1/", "http://8.8.8.8/", "http://127.1/"):
        assert "s3cret" not in repr(await sender.send(request(f"{url}?token=s3cret")))


async def test_a_header_that_cannot_be_sent_is_an_outcome_too(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY)
    outcome = await sender.send(WebhookRequest(receiver.url("F_1"), BODY, {"X-A": "b\r\nX-C: d"}, "FO-1"))
    assert outcome.kind is not OutcomeKind.ACK
    assert receiver.deliveries() == []


async def test_closing_the_sender_ends_sends_under_way_as_ambiguous(receiver: Receiver):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="hang"))
    sender = AiohttpWebhookSender(allowed_networks=LOOPBACK)
    await sender.start()
    under_way = asyncio.create_task(sender.send(request(receiver.url("F_1"))))
    await receiver.wait_received("FO-1")
    await sender.close()
    assert (await asyncio.wait_for(under_way, 5)).kind is OutcomeKind.AMBIGUOUS


async def test_a_cancelled_send_is_cancelled(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="hang"))
    under_way = asyncio.create_task(sender.send(request(receiver.url("F_1"))))
    await receiver.wait_received("FO-1")
    under_way.cancel()
    with pytest.raises(asyncio.CancelledError):
        await under_way


async def test_a_sender_that_was_not_started_says_so():
    with pytest.raises(RuntimeError, match="not started"):
        await AiohttpWebhookSender().send(request("https://follower.example/"))


async def test_more_sends_than_connections_all_arrive_once(receiver: Receiver):
    receiver.expect("F_1", key=KEY)
    async with AiohttpWebhookSender(
        allowed_networks=LOOPBACK, max_connections=20, max_connections_per_host=5
    ) as sender:
        outcomes = await asyncio.gather(*(sender.send(request(receiver.url("F_1"), f"FO-{n}")) for n in range(300)))
    assert {o.code for o in outcomes} == {"ack"}
    assert [d.received for d in receiver.deliveries()] == [1] * 300


async def test_a_host_that_hangs_does_not_hold_up_another(receiver: Receiver):
    receiver.expect("F_slow", key=KEY, behaviour=Behaviour(kind="hang"))
    receiver.expect("F_1", key=KEY)
    fast_url = receiver.url("F_1").replace("127.0.0.1", "localhost")
    async with AiohttpWebhookSender(
        timeout_ms=2_000, allowed_networks=LOOPBACK, max_connections=10, max_connections_per_host=5
    ) as sender:
        slow = [asyncio.create_task(sender.send(request(receiver.url("F_slow"), f"FO-s{n}"))) for n in range(8)]
        await receiver.wait_received("FO-s0")
        started = time.monotonic()
        assert (await sender.send(request(fast_url, "FO-fast"))).code == "ack"
        assert time.monotonic() - started < 1
        kinds = [(await task).kind for task in slow]
    # Five held the host's connections. Those behind them got none, and so provably sent nothing; or one that the end
    # of an earlier wait had freed in the moment before their own was over, and then that is what they say.
    assert kinds[:5] == [OutcomeKind.AMBIGUOUS] * 5
    unsent = {f"FO-s{n}" for n, kind in enumerate(kinds) if kind is OutcomeKind.RETRYABLE}
    assert set(kinds[5:]) <= {OutcomeKind.RETRYABLE, OutcomeKind.AMBIGUOUS}
    assert not unsent & {delivery.delivery_id for delivery in receiver.deliveries("F_slow")}

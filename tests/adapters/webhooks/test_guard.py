"""Nothing but the follower can be reached: no internal address by literal, name, rebinding, redirect or proxy."""

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.webhooks import AiohttpWebhookSender
from adapters.webhooks.guard import ThreadPoolResolver
from domain.ports import OutcomeKind, SendOutcome
from simulators.receiver import Behaviour, Receiver
from tests.adapters.webhooks.conftest import KEY, LOOPBACK, raw_server, read_request, request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FakeResolver(AbstractResolver):
    """Gives its answers in turn; the last one repeats."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=ip, port=port, family=socket.AF_INET, proto=0, flags=0) for ip in answer
        ]

    async def close(self) -> None:
        pass


async def deliver(url: str, **options: Any) -> SendOutcome:
    async with AiohttpWebhookSender(timeout_ms=2_000, **options) as sender:
        return await sender.send(request(url))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "127.9.9.9",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_loopback_is_blocked_under_each_of_its_names(receiver: Receiver, host: str, scheme: str):
    port = receiver.base_url.rpartition(":")[2]
    outcome = await deliver(f"{scheme}://{host}:{port}/v1/hooks/mirror/dispatch/F_1")
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "blocked_address")
    assert receiver.deliveries() == []


async def test_a_listed_network_does_not_open_the_mapped_form_of_its_addresses(receiver: Receiver):
    port = receiver.base_url.rpartition(":")[2]
    outcome = await deliver(f"http://[::ffff:127.0.0.1]:{port}/", allowed_networks=LOOPBACK)
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "blocked_address")
    assert outcome.detail == "address refused: IPv4-mapped"


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "0177.0.0.1", "017700000001", "localhost."])
async def test_odd_spellings_of_loopback_reach_nothing(host: str):
    outcome = await deliver(f"http://{host}:9/", allowed_networks=[])
    assert outcome.kind is not OutcomeKind.ACK
    assert outcome.code in {"invalid_url", "blocked_address", "connect_failed"}


async def test_rebinding_a_name_from_an_allowed_to_an_internal_address_is_blocked():
    reached: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        await read_request(reader)
        writer.write(ANSWER)
        await writer.drain()

    resolver = FakeResolver(["127.0.0.2"], ["127.0.0.1"])
    async with (
        raw_server(handle, host="0.0.0.0") as port,
        AiohttpWebhookSender(
            timeout_ms=2_000, allowed_networks=[ip_network("127.0.0.2/32")], resolver=resolver, dns_cache_s=0
        ) as sender,
    ):
        first = await sender.send(request(f"http://follower.example:{port}/"))
        second = await sender.send(request(f"http://follower.example:{port}/"))
    assert (first.code, second.code, second.kind) == ("ack", "blocked_address", OutcomeKind.FINAL)
    assert (resolver.asked, reached) == (2, ["127.0.0.2"])


async def test_a_name_with_internal_and_allowed_addresses_reaches_the_allowed_one_only():
    reached: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        await read_request(reader)
        writer.write(ANSWER)
        await writer.drain()

    async with raw_server(handle, host="0.0.0.0") as port:
        outcome = await deliver(
            f"http://follower.example:{port}/",
            allowed_networks=[ip_network("127.0.0.2/32")],
            resolver=FakeResolver(["127.0.0.1", "127.0.0.2", "127.0.0.3"]),
        )
    assert (outcome.code, reached) == ("ack", ["127.0.0.2"])


async def test_a_refused_address_beside_one_that_does_not_answer_may_be_tried_again():
    with socket.socket() as unused:
        unused.bind(("127.0.0.2", 0))  # bound and not listening: connections are refused
        outcome = await deliver(
            f"http://follower.example:{unused.getsockname()[1]}/",
            allowed_networks=[ip_network("127.0.0.2/32")],
            resolver=FakeResolver(["127.0.0.1", "127.0.0.2"]),
        )
    assert (outcome.kind, outcome.code) == (OutcomeKind.RETRYABLE, "connect_failed")


async def test_a_resolver_that_answers_with_a_name_is_blocked():
    outcome = await deliver("http://follower.example/", allowed_networks=LOOPBACK, resolver=FakeResolver(["localhost"]))
    assert (outcome.code, outcome.detail) == ("blocked_address", "address refused: not an IP address")


async def test_plain_http_to_a_public_address_is_refused_before_any_packet():
    outcome = await deliver("http://follower.example/", resolver=FakeResolver(["8.8.8.8"]))
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "blocked_address")
    assert outcome.detail == "address refused: plain http to a public address"


async def test_a_redirect_to_an_internal_address_is_not_followed(receiver: Receiver):
    receiver.expect("F_inner", key=KEY)
    receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="redirect", location=receiver.url("F_inner")))
    outcome = await deliver(receiver.url("F_1"), allowed_networks=LOOPBACK)
    assert (outcome.kind, outcome.code, outcome.http_status) == (OutcomeKind.FINAL, "redirect", 307)
    assert [(d.follower_id, d.received) for d in receiver.deliveries()] == [("F_1", 1)]


async def test_proxies_in_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    receiver.expect("F_1", key=KEY)
    assert (await deliver(receiver.url("F_1"), allowed_networks=LOOPBACK)).code == "ack"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "follower.example/hook",
        "ftp://follower.example/",
        "file:///etc/passwd",
        "http+unix://%2Ftmp%2Fsock/",
        "https://",
        "https:///hook",
        "https://user@follower.example/",
        "https://user:pa55@follower.example/",
        "https://:pa55@follower.example/",
        "https://follower.example:0/",
        "https://follower.example:65536/",
        "https://follower.example:port/",
        "https://[::1/",
    ],
)
async def test_urls_that_can_never_work_are_final_and_not_quoted(url: str):
    outcome = await deliver(url)
    assert (outcome.kind, outcome.code) == (OutcomeKind.FINAL, "invalid_url")
    assert "pa55" not in outcome.detail
    assert "follower" not in outcome.detail


async def test_the_resolver_gives_numeric_addresses():
    resolver = ThreadPoolResolver(threads=1)
    found = await resolver.resolve("localhost", 80)
    await resolver.close()
    assert {entry["host"] for entry in found} <= {"127.0.0.1", "::1"}
    assert found

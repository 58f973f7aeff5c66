"""A send that fails before the request is written has provably sent nothing."""

import asyncio
import socket
import ssl
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.webhooks import AiohttpWebhookSender
from domain.ports import OutcomeKind
from simulators.receiver import Receiver
from tests.adapters.webhooks.conftest import KEY, request


async def test_a_refused_connection_has_sent_nothing(sender: AiohttpWebhookSender):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await sender.send(request(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.RETRYABLE, "connect_failed")


class BrokenResolver(AbstractResolver):
    """Fails as told, or never answers."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), OSError("boom"), None])
async def test_a_name_that_does_not_resolve_in_time_has_sent_nothing(error: Exception | None):
    async with AiohttpWebhookSender(timeout_ms=200, resolver=BrokenResolver(error)) as sender:
        outcome = await sender.send(request("https://follower.example/"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.RETRYABLE, "connect_failed")


async def test_a_tls_handshake_with_a_plain_server_has_sent_nothing(receiver: Receiver, sender: AiohttpWebhookSender):
    receiver.expect("F_1", key=KEY)
    outcome = await sender.send(request(receiver.url("F_1").replace("http:", "https:")))
    assert (outcome.kind, outcome.code) == (OutcomeKind.RETRYABLE, "connect_failed")
    assert receiver.deliveries() == []


async def test_a_certificate_nobody_vouches_for_is_refused_before_the_request(
    sender: AiohttpWebhookSender, tmp_path: Path
):
    received: list[bytes] = []

    async def connected(reader: Reader, writer: Writer) -> None:
        received.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=_self_signed(tmp_path))
    outcome = await sender.send(request(f"https://localhost:{server.sockets[0].getsockname()[1]}/"))
    server.close()
    await server.wait_closed()
    assert (outcome.kind, outcome.code) == (OutcomeKind.RETRYABLE, "connect_failed")
    assert received in ([], [b""])


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "self-signed.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context

"""The reference receiver judges and counts as a careful follower would."""

import time
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from domain import signing
from simulators.receiver import DISPATCH, Behaviour, Receiver

KEY, OTHER = bytes(range(32)), b"o" * 32
BODY = b'{"follower_id":"F_1","qty_str":"5"}'


async def post(url: str, headers: dict[str, str], body: bytes = BODY) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return response.status, await response.json() if response.status != 204 else {}


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


def signed(delivery_id: str = "FO-1", skew: int = 0, keys: tuple[bytes, ...] = (KEY,)) -> dict[str, str]:
    return signing.headers(keys, delivery_id, int(time.time()) + skew, BODY)


async def test_a_repeated_delivery_is_received_twice_and_processed_once():
    async with Receiver() as receiver:
        receiver.expect("F_1", key=KEY, behaviour=Behaviour(fill_price="10"))
        answers = [await post(receiver.url("F_1"), signed()) for _ in range(2)]
        delivery = receiver.delivery("FO-1")
    assert answers == [(200, {"fills": [{"fill_id": "FO-1-1", "qty": "5", "price": "10"}]})] * 2
    assert delivery is not None
    assert (delivery.received, delivery.processed, len(delivery.receptions)) == (2, 1, 2)


@pytest.mark.parametrize("skew", [-400, 400])
async def test_stale_and_future_timestamps_are_refused(skew: int):
    async with Receiver() as receiver:
        receiver.expect("F_1", key=KEY)
        assert (await post(receiver.url("F_1"), signed(skew=skew)))[0] == 401
        assert [d.processed for d in receiver.deliveries()] == [0]


@pytest.mark.parametrize("header", ["X-Vanta-Signature", "webhook-signature"])
async def test_either_wrong_signature_is_refused_and_reported(header: str):
    async with Receiver() as receiver:
        receiver.expect("F_1", key=KEY)
        wrong = signed(keys=(OTHER,))[header]
        assert (await post(receiver.url("F_1"), {**signed(), header: wrong}))[0] == 401
        (delivery,) = receiver.deliveries()
    assert (delivery.receptions[0].vanta_valid, delivery.receptions[0].standard_valid) == (
        header != "X-Vanta-Signature",
        header != "webhook-signature",
    )


async def test_the_follower_is_taken_from_the_body_where_the_path_names_none():
    async with Receiver() as receiver:
        receiver.expect("F_1", key=KEY)
        assert (await post(receiver.base_url + DISPATCH, signed()))[0] == 200
        assert (await post(receiver.base_url + DISPATCH, signed(), b"[1]"))[0] == 404
        assert (await post(receiver.url("F_2"), signed()))[0] == 404
        assert [d.follower_id for d in receiver.deliveries()] == ["F_1"]


async def test_failures_are_counted_per_delivery():
    async with Receiver() as receiver:
        receiver.expect("F_1", key=KEY, behaviour=Behaviour(kind="fail", status=503, times=2))
        statuses = [(await post(receiver.url("F_1"), signed(d)))[0] for d in ("FO-1", "FO-1", "FO-2", "FO-1", "FO-2")]
    assert statuses == [503, 503, 503, 200, 503]


async def test_control_registers_a_follower_and_received_reports_it():
    async with Receiver() as receiver:
        control = f"{receiver.base_url}/control/followers/F_9"
        secret = signing.format_secret(KEY)
        async with aiohttp.ClientSession() as session:
            told = {"key": secret, "behaviour": {"kind": "fail", "status": 429, "retry_after": "3"}}
            async with session.post(control, json=told) as response:
                assert response.status == 204
            unusable: list[object] = [{}, [], {"key": "x"}, {"key": secret, "behaviour": {"kind": "?"}}]
            for bad in unusable:
                async with session.post(control, json=bad) as response:
                    assert response.status == 422
                    assert secret not in await response.text()
        assert (await post(receiver.url("F_9"), signed("FO-9")))[0] == 429
        assert await get(f"{receiver.base_url}/received?follower_id=F_1") == []
        (found,) = await get(f"{receiver.base_url}/received?delivery_id=FO-9")
        assert (found["follower_id"], found["received"], found["processed"]) == ("F_9", 1, 0)
        assert await get(f"{receiver.base_url}/healthz") == {"status": "ok"}


async def test_only_the_latest_deliveries_are_kept():
    async with Receiver(max_deliveries=2) as receiver:
        receiver.expect("F_1", key=KEY)
        for n in range(4):
            await post(receiver.url("F_1"), signed(f"FO-{n}"))
        assert [d.delivery_id for d in receiver.deliveries()] == ["FO-2", "FO-3"]


async def test_waiting_for_a_delivery_that_does_not_come_ends():
    async with Receiver() as receiver:
        with pytest.raises(TimeoutError):
            await receiver.wait_received("FO-1", timeout_s=0.05)


async def test_what_the_receiver_accepts_an_off_the_shelf_library_accepts():
    async with Receiver() as receiver:
        receiver.expect("F_1", key=(KEY, OTHER))
        headers = signed(keys=(OTHER,))
        assert (await post(receiver.url("F_1"), headers))[0] == 200
    Webhook(signing.format_secret(OTHER)).verify(BODY, headers)

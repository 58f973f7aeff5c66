"""Signatures against published vectors, an off-the-shelf verifier, and bit flips."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from domain import signing
from domain.errors import InvalidInput

WYCHEPROOF = Path(__file__).parents[3] / "shared" / "vectors" / "wycheproof-hmac-sha256.json"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = signing.parse_secret(SECRET)
OLD_KEY = bytes(range(32))
BODY = b'{"test": 2432232314}'
NOW = 1_614_265_330
DELIVERY = "msg_p5jXN8AQM9LWM0D4loKWxJek"
GOLDEN = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_standard_webhooks_published_example_has_its_published_signature():
    assert signing.standard_signature([KEY], DELIVERY, NOW, BODY) == GOLDEN


def test_vanta_signature_is_sha256_hex_over_timestamp_dot_body():
    key = b"k" * 32
    message = b"1614265330.raw \x00 body"
    assert signing.vanta_signature(key, NOW, b"raw \x00 body") == "sha256=" + signing.hmac_sha256(key, message).hex()


@pytest.mark.skipif(not WYCHEPROOF.exists(), reason="the Wycheproof vectors are not beside the repository")
def test_every_wycheproof_vector_gives_its_verdict():
    seen = 0
    for group in json.loads(WYCHEPROOF.read_text())["testGroups"]:
        for case in group["tests"]:
            tag = signing.hmac_sha256(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]))
            truncated = tag[: group["tagSize"] // 8].hex()
            assert (truncated == case["tag"]) == (case["result"] == "valid"), case["tcId"]
            seen += 1
    assert seen == 174


def test_off_the_shelf_library_verifies_what_we_send():
    now = int(datetime.now(UTC).timestamp())
    sent = signing.headers([KEY], "FO-1", now, BODY)
    assert Webhook(SECRET).verify(BODY, {k.lower(): v for k, v in sent.items()}) == {"test": 2432232314}


def test_off_the_shelf_library_verifies_either_key_while_one_rotates():
    sent = signing.headers([KEY, OLD_KEY], "FO-1", int(datetime.now(UTC).timestamp()), BODY)
    for key in (KEY, OLD_KEY):
        Webhook(signing.format_secret(key)).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.format_secret(b"x" * 32)).verify(BODY, sent)


def test_headers_carry_both_forms_newest_key_first():
    sent = signing.headers([KEY, OLD_KEY], "FO-1", NOW, BODY)
    assert sent == {
        "Content-Type": "application/json",
        "X-Vanta-Signature": f"{signing.vanta_signature(KEY, NOW, BODY)},{signing.vanta_signature(OLD_KEY, NOW, BODY)}",
        "X-Vanta-Timestamp": str(NOW),
        "webhook-id": "FO-1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": signing.standard_signature([KEY], "FO-1", NOW, BODY)
        + " "
        + signing.standard_signature([OLD_KEY], "FO-1", NOW, BODY),
    }


@pytest.mark.parametrize("receiver_keys", [[KEY], [OLD_KEY], [b"z" * 32, OLD_KEY]])
def test_one_common_key_is_enough(receiver_keys: list[bytes]):
    sent = signing.headers([KEY, OLD_KEY], "FO-1", NOW, BODY)
    assert signing.verify(receiver_keys, sent, BODY, now=NOW)


@pytest.mark.parametrize(("skew", "fresh"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_timestamps_are_accepted_within_300_seconds_on_both_sides(skew: int, fresh: bool):
    sent = signing.headers([KEY], "FO-1", NOW, BODY)
    assert signing.verify_vanta([KEY], sent, BODY, now=NOW + skew) is fresh
    assert signing.verify_standard([KEY], sent, BODY, now=NOW + skew) is fresh


@pytest.mark.parametrize("form", ["X-Vanta-", "webhook-"])
def test_one_form_alone_verifies_but_a_wrong_second_form_spoils_it(form: str):
    sent = signing.headers([KEY], "FO-1", NOW, BODY)
    alone = {k: v for k, v in sent.items() if k.startswith(form)}
    assert signing.verify([KEY], alone, BODY, now=NOW)
    other = next(k for k in sent if k.lower().endswith("-signature") and not k.startswith(form))
    assert not signing.verify([KEY], {**sent, other: sent[other][:-2] + "AA"}, BODY, now=NOW)


def test_no_signature_at_all_is_refused():
    assert not signing.verify([KEY], {"X-Vanta-Timestamp": str(NOW), "webhook-id": "FO-1"}, BODY, now=NOW)


@pytest.mark.parametrize("spelling", ["", " 1614265330", "01614265330", "1614265330.0", "١٦١٤٢٦٥٣٣٠", "-1", "9" * 5000])
def test_other_spellings_of_a_timestamp_are_refused(spelling: str):
    sent = {**signing.headers([KEY], "FO-1", NOW, BODY), "X-Vanta-Timestamp": spelling, "webhook-timestamp": spelling}
    assert not signing.verify_vanta([KEY], sent, BODY, now=NOW)
    assert not signing.verify_standard([KEY], sent, BODY, now=NOW)


def test_signatures_beyond_the_bound_are_not_looked_at():
    good = signing.vanta_signature(KEY, NOW, BODY)
    for noise, accepted in ((7, True), (8, False)):
        sent = {"X-Vanta-Timestamp": str(NOW), "X-Vanta-Signature": ",".join(["sha256=00"] * noise + [good])}
        assert signing.verify([KEY], sent, BODY, now=NOW) is accepted


@pytest.mark.parametrize("junk", ["\udcff", "sha256=é", ",,,", "v1,", "v1a,AAAA"])
def test_junk_in_signature_headers_is_refused_without_an_error(junk: str):
    sent = {**signing.headers([KEY], "FO-1", NOW, BODY), "X-Vanta-Signature": junk, "webhook-signature": junk}
    assert not signing.verify([KEY], sent, BODY, now=NOW)


def _flip(data: bytes, bit: int) -> bytes:
    bit %= len(data) * 8
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


@given(
    body=st.binary(min_size=1, max_size=200),
    key=st.binary(min_size=24, max_size=64),
    bit=st.integers(min_value=0, max_value=10_000),
    part=st.sampled_from(["body", "key", "X-Vanta-Signature", "X-Vanta-Timestamp", "webhook-id", "webhook-signature"]),
)
def test_flipping_any_bit_of_anything_signed_is_refused(body: bytes, key: bytes, bit: int, part: str):
    sent = signing.headers([key], "FO-1", NOW, body)
    assert signing.verify([key], sent, body, now=NOW)
    if part == "body":
        body = _flip(body, bit)
    elif part == "key":
        key = _flip(key, bit)
    else:
        sent[part] = _flip(sent[part].encode(), bit).decode("latin-1")
    assert not signing.verify([key], sent, body, now=NOW)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_é"]
)
def test_bad_secrets_are_refused_without_being_quoted(secret: str):
    with pytest.raises(InvalidInput) as caught:
        signing.parse_secret(secret)
    assert secret.removeprefix("whsec_") == "" or secret.removeprefix("whsec_") not in str(caught.value)


def test_secrets_survive_the_round_trip():
    assert signing.parse_secret(signing.format_secret(OLD_KEY)) == OLD_KEY


@pytest.mark.parametrize("keys", [[], [b"k" * 23], [KEY, b""]])
def test_nothing_is_signed_or_verified_without_strong_keys(keys: list[bytes]):
    with pytest.raises(InvalidInput):
        signing.headers(keys, "FO-1", NOW, BODY)
    with pytest.raises(InvalidInput):
        signing.verify_vanta(keys, {}, BODY, now=NOW)


@pytest.mark.parametrize("delivery_id", ["", "a.b", "a\r\nX: y", "ä"])
def test_delivery_ids_that_could_be_misread_are_refused(delivery_id: str):
    with pytest.raises(InvalidInput):
        signing.headers([KEY], delivery_id, NOW, BODY)

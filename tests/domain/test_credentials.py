from datetime import UTC, datetime
from itertools import product

import pytest

from domain.credentials import (
    TRANSITIONS,
    WORDS,
    Broken,
    Status,
    Step,
    after,
    broken_by,
    refresh_breaks,
    to_seal,
    unsealed,
)
from domain.errors import IllegalTransition, SecretUnreadable, VenueRefused, VenueUnavailable
from domain.ports import BrokerCredentials


@pytest.mark.parametrize(("source", "step"), [pair for pair in product(Status, Step) if pair not in TRANSITIONS])
def test_what_the_table_does_not_have_raises(source: Status, step: Step) -> None:
    with pytest.raises(IllegalTransition, match="credential"):
        after(source, step)


def test_a_broken_credential_is_mended_by_an_update_a_refresh_and_a_test_and_breaks_only_once() -> None:
    mending = (Step.UPDATED, Step.REFRESHED, Step.PROVEN)
    assert [after(Status.BROKEN, step) for step in mending] == [Status.ACTIVE] * 3
    assert after(Status.ACTIVE, Step.BREAKS) is Status.BROKEN
    with pytest.raises(IllegalTransition):
        after(Status.BROKEN, Step.BREAKS)


def test_every_reason_has_words() -> None:
    assert set(WORDS) == set(Broken)


@pytest.mark.parametrize("code", ["forbidden", "insufficient_funds", "rate_limited", "no_answer", "secret-unavailable"])
def test_other_refusals_say_nothing_of_the_credential(code: str) -> None:
    assert broken_by(code) is None


def test_a_refused_refresh_is_a_revoked_one_and_an_unanswered_one_breaks_when_the_token_is_over() -> None:
    assert refresh_breaks(VenueRefused("bad_credentials", "no"), expired=False) is Broken.REVOKED
    assert refresh_breaks(VenueUnavailable("no_answer", "no"), expired=False) is None
    assert refresh_breaks(VenueUnavailable("no_answer", "no"), expired=True) is Broken.EXPIRED


def test_credentials_come_out_as_they_were_sealed_whatever_they_hold() -> None:
    until = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for kept in (
        BrokerCredentials("ref", "k", "-----BEGIN EC PRIVATE KEY-----\nabc\n", "live"),
        BrokerCredentials("ref", "k", "token", "live", "again", until),
    ):
        assert unsealed("ref", to_seal(kept), "live") == kept


@pytest.mark.parametrize(
    "opened", [b"", b"\xff", b"[]", b"{}", b'{"key_id": "k"}', b'{"key_id":1,"secret":2,"expires_at":3}']
)
def test_other_contents_are_unreadable_and_are_not_shown(opened: bytes) -> None:
    with pytest.raises(SecretUnreadable, match=r"^cred/F holds no credentials$"):
        unsealed("cred/F", opened, "live")


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(BrokerCredentials("ref", "k", "S3CRET", "live", "REFRESH"))
    assert "S3CRET" not in shown
    assert "REFRESH" not in shown

"""Which addresses a webhook may reach."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.addresses import check_address, is_listed, is_public

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


def _listed(text: str) -> list[str]:
    return text.split()


PUBLIC = _listed("""
8.8.8.8 1.1.1.1 93.184.215.14 100.63.255.255 100.128.0.0 172.32.0.1 192.0.1.1 198.20.0.1
2606:4700:4700::1111 2001:4860:4860::8888 2001:200::1 2a00:1450::1 2003::1 2620:4f:8001::1
""")
# First and last of a block where its edge is easily got wrong.
BLOCKED = _listed("""
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
192.0.0.8 192.0.0.170 192.0.2.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255
240.0.0.1 255.255.255.255 :: ::1 fc00::1 fd12:3456::1 fe80::1 fec0::1 ff02::1 2001:db8::1 3fff::1 3fff:fff::1 2001:2::1
2001:10::1 2001:1::1 2001:3::1 2001:4:112::1 2001:20::1 2001:30::1 100::1 100:0:0:1::1 5f00::1 4000::1 64:ff9b:1::1
""")
IS_GLOBAL_ACCEPTS = _listed("""
192.31.196.1 192.52.193.1 192.175.48.1 192.88.99.1 192.0.0.9 192.0.0.10 224.0.1.1 64:ff9b::7f00:1 64:ff9b::808:808
2620:4f:8000::1 ff0e::1 4000::1 ::808:808 ::7f00:1
""")
EMBEDDED = _listed("""
::ffff:127.0.0.1 ::ffff:7f00:1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::ffff:8.8.8.8
2001:0:4136:e378:8000:63bf:3fff:fdd2
""")


@pytest.mark.parametrize("ip", PUBLIC)
def test_ordinary_hosts_are_public(ip: str):
    assert is_public(ip)
    assert check_address(ip_address(ip), ()) is None


@pytest.mark.parametrize("ip", BLOCKED)
def test_special_purpose_addresses_are_not_public(ip: str):
    assert not is_public(ip)


def test_a_dozen_addresses_that_the_standard_library_calls_global_are_refused():
    assert sum(ip_address(ip).is_global for ip in IS_GLOBAL_ACCEPTS) >= 12  # fewer in later Pythons: drop them here
    assert not any(is_public(ip) for ip in IS_GLOBAL_ACCEPTS)


@pytest.mark.parametrize("ip", EMBEDDED)
def test_embedded_forms_are_refused_even_where_a_list_names_them(ip: str):
    everything = [*LOOPBACK, ip_network("::/0"), ip_network("0.0.0.0/0")]
    assert check_address(ip, everything) is not None
    assert not is_listed(ip, everything)


@pytest.mark.parametrize(
    "ip",
    ["fe80::1%eth0", "::1%1", "2606:4700::1%eth0", "localhost", "127.1", "0x7f000001", "2130706433", "", "1.2.3.4 "],
)
def test_scoped_addresses_and_text_are_refused_even_where_all_is_listed(ip: str):
    assert check_address(ip, [ip_network("::/0"), ip_network("0.0.0.0/0")]) is not None


def test_a_listed_network_opens_itself_and_nothing_else():
    assert check_address("127.0.0.1", LOOPBACK) is None
    assert check_address("::1", LOOPBACK) is None
    assert check_address("10.0.0.1", LOOPBACK) == "private"
    assert check_address("::2", LOOPBACK) == "IPv4-compatible"
    assert is_listed("127.0.0.1", LOOPBACK)
    assert not is_listed("8.8.8.8", LOOPBACK)


@given(st.ip_addresses(v=4))
def test_a_public_ipv4_address_is_never_one_the_standard_library_calls_local(ip: IPv4Address):
    if is_public(ip):
        assert ip.is_global
        assert not any((ip.is_multicast, ip.is_reserved, ip.is_private, ip.is_loopback, ip.is_unspecified))


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast_and_embeds_no_ipv4_address(ip: IPv6Address):
    if is_public(ip):
        assert int(ip) >> 125 == 0b001
        assert ip.is_global
        assert (ip.ipv4_mapped, ip.sixtofour, ip.teredo) == (None, None, None)

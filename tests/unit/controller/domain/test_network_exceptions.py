"""What is cut out of the addresses that a spec allows."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_operator.resources import network

DENIED = network.denied(("10.96.0.0/12",))
FOUR = [hole for hole in DENIED if isinstance(hole, IPv4Network)]


@st.composite
def blocks(draw: st.DrawFn) -> IPv4Network:
    address = draw(st.integers(0, 2**32 - 1))
    prefix = draw(st.integers(0, 32))
    return IPv4Network((address, prefix), strict=False)


@given(blocks(), st.integers(0, 2**32 - 1))
def test_no_denied_address_is_left_and_no_other_is_lost(block: IPv4Network, number: int) -> None:
    address = IPv4Address(number)
    holes = network.exceptions(block, DENIED)
    inside = [hole for hole in FOUR if hole.subnet_of(block)]
    denied = any(address in hole for hole in inside)
    if address in block:
        assert any(address in hole for hole in holes) == denied


@pytest.mark.parametrize(
    ("block", "holes"),
    [
        pytest.param("203.0.113.0/24", [], id="a block far from everything keeps all of it"),
        pytest.param("169.0.0.0/8", ["169.254.0.0/16"], id="link-local is cut out"),
        pytest.param("fd20::/16", ["fd20:ce::254/128"], id="a metadata service of IPv6"),
    ],
)
def test_exceptions_are_listed(block: str, holes: list[str]) -> None:
    assert [str(hole) for hole in network.exceptions(ip_network(block), DENIED)] == holes


@pytest.mark.parametrize(
    "service",
    [
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:100::100:200",
        "fe80::a9fe:a9fe",
    ],
)
def test_no_metadata_service_of_ipv6_is_reached_where_everything_else_is(service: str) -> None:
    everywhere = ip_network("::/0")
    assert any(ip_address(service) in hole for hole in network.exceptions(everywhere, DENIED))

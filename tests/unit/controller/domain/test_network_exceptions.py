"""What is cut out of the addresses that a spec allows."""

from ipaddress import IPv4Address, IPv4Network, ip_network

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
        pytest.param("::/0", ["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"], id="IPv6 too"),
    ],
)
def test_exceptions_are_listed(block: str, holes: list[str]) -> None:
    assert [str(hole) for hole in network.exceptions(ip_network(block), DENIED)] == holes

"""Which addresses a socket may connect to when somebody else chose the host."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead_runtime.tools.web.addresses import PRIVATE, is_public, is_public_or_private

NEVER = [
    pytest.param("127.0.0.1", id="loopback"),
    pytest.param("127.255.255.254", id="the far end of loopback"),
    pytest.param("0.0.0.0", id="this host"),
    pytest.param("0.1.2.3", id="this network"),
    pytest.param("169.254.169.254", id="the metadata of most clouds"),
    pytest.param("169.254.170.2", id="the credentials of containers"),
    pytest.param("100.100.100.200", id="metadata among shared addresses"),
    pytest.param("168.63.129.16", id="metadata among public addresses"),
    pytest.param("192.0.0.192", id="metadata among protocol assignments"),
    pytest.param("192.0.2.1", id="an address of documents"),
    pytest.param("198.18.0.1", id="benchmarks"),
    pytest.param("192.88.99.1", id="a relay"),
    pytest.param("224.0.0.1", id="multicast"),
    pytest.param("239.255.255.255", id="the far end of multicast"),
    pytest.param("240.0.0.1", id="reserved"),
    pytest.param("255.255.255.255", id="broadcast"),
    pytest.param("::1", id="loopback of IPv6"),
    pytest.param("::", id="this host of IPv6"),
    pytest.param("fe80::1", id="the link"),
    pytest.param("fe80::1%eth0", id="the link with its interface"),
    pytest.param("fec0::1", id="a site"),
    pytest.param("fd00:ec2::254", id="metadata of AWS among private addresses of IPv6"),
    pytest.param("fd20:ce::254", id="metadata of Google Cloud among them"),
    pytest.param("fd00:c1::a9fe:a9fe", id="metadata of Oracle Cloud among them"),
    pytest.param("fd00:42::42", id="metadata of Scaleway among them"),
    pytest.param("fd00:a9fe:a9fe::1", id="metadata of Akamai among them"),
    pytest.param("fd00:100::100:200", id="metadata of Alibaba Cloud among them"),
    pytest.param("ff02::1", id="multicast of IPv6"),
    pytest.param("::ffff:127.0.0.1", id="loopback, mapped"),
    pytest.param("::ffff:169.254.169.254", id="metadata, mapped"),
    pytest.param("::ffff:8.8.8.8", id="a public address, mapped"),
    pytest.param("::7f00:1", id="loopback, compatible"),
    pytest.param("64:ff9b::7f00:1", id="loopback, translated"),
    pytest.param("64:ff9b:1::a00:1", id="private, translated locally"),
    pytest.param("2002:7f00:1::", id="loopback in 6to4"),
    pytest.param("2001:0:4136:e378:8000:63bf:3fff:fdd2", id="Teredo"),
    pytest.param("2001:db8::1", id="an address of documents of IPv6"),
    pytest.param("100::1", id="where traffic is discarded"),
    pytest.param("localhost", id="a name"),
    pytest.param("", id="nothing"),
    pytest.param("0x7f000001", id="a spelling that is none"),
    pytest.param("8.8.8.8.", id="a dot at the end"),
    pytest.param("/var/run/docker.sock", id="a path"),
]


@pytest.mark.parametrize("address", NEVER)
def test_never_connected_to(address: str) -> None:
    assert not is_public(address)
    assert not is_public_or_private(address)


@pytest.mark.parametrize(
    "address", ["10.96.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "fd12:3456::1"]
)
def test_a_private_address_is_connected_to_only_where_that_is_open(address: str) -> None:
    assert not is_public(address)
    assert is_public_or_private(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111"])
def test_a_public_address_is_connected_to(address: str) -> None:
    assert is_public(address)
    assert is_public_or_private(address)


@given(st.ip_addresses(v=4))
def test_the_standard_library_agrees_on_every_address_that_is_let_through(
    address: ipaddress.IPv4Address,
) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not any(
            (
                address.is_private,
                address.is_multicast,
                address.is_reserved,
                address.is_loopback,
                address.is_link_local,
                address.is_unspecified,
            )
        )


@given(st.ip_addresses(v=4))
def test_no_address_is_let_through_inside_another(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    wrapped = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    assert not any(is_public_or_private(str(outer)) for outer in wrapped)


@given(st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(network=network)))
def test_no_private_address_is_public(address: object) -> None:
    assert not is_public(str(address))

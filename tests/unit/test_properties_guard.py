"""No disguise of an address gets past the address policy, and no network in the allow list opens more than itself."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioscheduler.engine.guard import AddressRefused, Guard
from aioscheduler.errors import InvalidInput

OPEN = Guard(block_private=False)
CLOSED = Guard(block_private=True)
#: What a list of all there is to allow makes of it: nothing may depend on it.
EVERYTHING = Guard(block_private=True, allow=["0.0.0.0/0", "::/0", "name.test"])

NEVER = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32", "168.63.129.16/32"),
        *("fe80::/10", "ff00::/8", "fd00:ec2::254/128"),
    )
]
PRIVATE = [
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"),
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "fc00::/7", "fec0::/10", "2001:db8::/32"),
    )
]
V6 = 2**128 - 1
#: From an IPv4 address and the bits around it to the IPv6 addresses that lead to it.
DISGUISES: list[Callable[[int, int], int]] = [
    lambda v4, _: 0xFFFF << 32 | v4,  # mapped
    lambda v4, _: v4,  # compatible
    lambda v4, _: 0xFFFF << 48 | v4,  # translated
    lambda v4, _: 0x64FF9B << 96 | v4,  # NAT64
    lambda v4, rest: 0x64FF9B0001 << 80 | (rest & (2**80 - 1)) >> 32 << 32 | v4,  # NAT64 of one's own
    lambda v4, rest: 0x2002 << 112 | v4 << 80 | rest & (2**80 - 1),  # 6to4
    lambda v4, rest: 0x20010000 << 96 | v4 << 64 | rest & (2**64 - 1),  # Teredo's server
    lambda v4, rest: 0x20010000 << 96 | (rest & (2**64 - 1)) >> 32 << 64 | (v4 ^ 0xFFFF_FFFF),  # Teredo's client
]


@st.composite
def addresses(draw: st.DrawFn, networks: list[IPv4Network | IPv6Network]) -> str:
    """Draw an address inside one of the networks, IPv4 as itself or in a disguise."""
    network = draw(st.sampled_from(networks))
    address = int(network.network_address) + draw(st.integers(0, network.num_addresses - 1))
    if isinstance(network, IPv6Network):
        return str(IPv6Address(address))
    disguise = draw(st.none() | st.sampled_from(DISGUISES))
    if disguise is None:
        return str(IPv4Address(address))
    hidden = disguise(address, draw(st.integers(0, V6)))
    # The first two addresses there are mean nothing and this machine, not those they would be compatible with.
    return str(IPv6Address(hidden)) if hidden > 1 else "::"


def is_refused(guard: Guard, address: str) -> bool:
    """Return what both judgements say, of the URL and of the connection."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    verdicts = []
    for judge in (lambda: guard.check_url(url), lambda: guard.check_address("other.test", address)):
        try:
            judge()
        except (InvalidInput, AddressRefused):
            verdicts.append(True)
        else:
            verdicts.append(False)
    assert verdicts[0] == verdicts[1], "the URL and the connection are judged alike"
    return verdicts[0]


@settings(derandomize=True, max_examples=300)
@given(address=addresses(NEVER))
def test_what_is_never_called_is_refused_in_every_disguise_whatever_the_settings(address: str) -> None:
    assert is_refused(OPEN, address)
    assert is_refused(EVERYTHING, address)
    with pytest.raises(AddressRefused):
        EVERYTHING.check_address("name.test", address)


@settings(derandomize=True, max_examples=300)
@given(address=addresses(PRIVATE))
def test_what_is_private_is_refused_in_every_disguise(address: str) -> None:
    assert is_refused(CLOSED, address)


@settings(derandomize=True, max_examples=200)
@given(address=st.integers(0, 2**32 - 1), disguise=st.sampled_from(DISGUISES), rest=st.integers(0, V6))
def test_a_disguise_is_never_treated_better_than_what_it_hides(
    address: int, disguise: Callable[[int, int], int], rest: int
) -> None:
    hidden = disguise(address, rest)
    plain = str(IPv4Address(address))
    for guard in (OPEN, CLOSED):
        assert is_refused(guard, str(IPv6Address(max(hidden, 2)))) or not is_refused(guard, plain)


@settings(derandomize=True, max_examples=200)
@given(
    base=st.integers(0, 2**24 - 1),
    length=st.integers(8, 32),
    other=st.integers(0, 2**24 - 1),
    disguise=st.none() | st.sampled_from(DISGUISES[:4]),
)
def test_an_allowed_network_opens_its_own_addresses_and_no_others(
    base: int, length: int, other: int, disguise: Callable[[int, int], int] | None
) -> None:
    allowed = IPv4Network((10 << 24 | base, length), strict=False)
    guard = Guard(block_private=True, allow=[str(allowed)])
    address = IPv4Address(10 << 24 | other)
    shown = str(address) if disguise is None else str(IPv6Address(disguise(int(address), 0)))
    assert is_refused(guard, shown) == (address not in allowed)
    assert not is_refused(guard, str(allowed.network_address))

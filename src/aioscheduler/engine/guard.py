"""Which targets may be called.

Judged twice: when a message is scheduled, on what the URL says, and again inside the connector, on the very address
about to be connected to, so that no name can lead where its URL could not.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aioscheduler.domain.target import Destination, check_url
from aioscheduler.errors import ConfigError, InvalidInput, Sentence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(item) for item in text.split())


#: Never a receiver. Tables of our own, since ``is_global`` and its kin take 6to4, NAT64, site-local and multicast
#: addresses for public ones, and change from one Python to the next.
_ALWAYS_REFUSED = _networks(
    "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 ::/128 fe80::/10 ff00::/8 "
    # Metadata services outside the link-local networks: Alibaba, Azure, Oracle; EC2, Google, Scaleway, Oracle.
    "100.100.100.200/32 168.63.129.16/32 192.0.0.192/32 "
    "fd00:ec2::254/128 fd20:ce::254/128 fd00:42::42/128 fd00:c1::a9fe:a9fe/128"
)
_METADATA_HOSTS = frozenset(
    [
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "instance-data.ec2.internal",
        "metadata.tencentyun.com",
    ]
)
#: Not for the public: the registries of RFC 6890 with what was added since.
_PRIVATE = _networks(
    "10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 "
    "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
    "::1/128 64:ff9b:1::/48 100::/64 2001:2::/48 2001:10::/28 2001:20::/28 2001:db8::/32 3fff::/20 5f00::/16 "
    "fc00::/7 fec0::/10"
)
_LOCAL_HOSTS = frozenset(["localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"])

#: IPv6 forms that carry an IPv4 address: the network, how far right the address lies, and what hides its bits.
_EMBEDDED = tuple(
    (IPv6Network(network), shift, mask)
    for network, shift, mask in (
        ("::ffff:0:0/96", 0, 0),  # mapped, RFC 4291
        ("::/96", 0, 0),  # compatible, RFC 4291
        ("::ffff:0:0:0/96", 0, 0),  # translated, RFC 2765
        ("64:ff9b::/96", 0, 0),  # NAT64, RFC 6052
        ("64:ff9b:1::/48", 0, 0),  # NAT64 of one's own, RFC 8215
        ("2002::/16", 80, 0),  # 6to4, RFC 3056
        ("2001::/32", 64, 0),  # Teredo's server, RFC 4380
        ("2001::/32", 0, 0xFFFF_FFFF),  # Teredo's client, its bits inverted
    )
)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class AddressRefused(PermissionError):
    """The policy forbids to connect to an address; an ``OSError``, since the connector expects nothing else."""


class Guard:
    """The address policy.

    Link-local, multicast, reserved and metadata addresses are refused whatever the settings. ``block_private`` refuses
    loopback and private networks too; ``allow`` opens some of these again, by host, ``*.suffix``, address or network.

    :raises ConfigError: an entry of ``allow`` is none of these
    """

    def __init__(self, *, block_private: bool, allow: Sequence[str] = ()) -> None:
        self._block_private = block_private
        self._allowed_networks: list[Network] = []
        self._allowed_hosts: set[str] = set()
        self._allowed_suffixes: list[str] = []
        for entry in allow:
            self._allow(entry.strip().lower().rstrip("."))
        # Per guard, and bounded: destinations repeat far more often than they differ.
        self._judge = lru_cache(maxsize=4096)(self._judge_destination)

    def _allow(self, entry: str) -> None:
        try:
            self._allowed_networks.append(ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            if not _HOST.fullmatch(entry):
                raise ConfigError(
                    Sentence(
                        'WEBHOOK_ALLOW: "{entry}" is no host name, *.suffix, IP address or network in CIDR form',
                        entry=entry,
                    )
                ) from None
            if entry.startswith("*."):
                self._allowed_suffixes.append(entry[1:])
            else:
                self._allowed_hosts.add(entry)

    def check_url(self, url: object, field: str = "webhookUrl") -> Destination:
        """Return the destination of a URL that may be called, as far as the URL itself tells: names are not resolved.

        :raises InvalidInput: not a legal URL, or the policy forbids it; names the field and the setting
        """
        destination = check_url(url, field)
        if (refusal := self._judge(destination)) is not None:
            raise InvalidInput.of(field, refusal)
        return destination

    def refusal(self, destination: Destination) -> Sentence | None:
        """Return why a destination may not be called, or ``None``; names are not resolved."""
        return self._judge(destination)

    def check_address(self, host: str, address: str) -> None:
        """Let a connection to ``address`` pass, to which ``host`` was resolved.

        :raises AddressRefused: the policy forbids it, or it is no address
        """
        literal = literal_address(address)
        refusal = _NO_ADDRESS if literal is None else self._judge_address(host.lower().rstrip("."), literal)
        if refusal is not None:
            raise AddressRefused(str(refusal))

    def _judge_destination(self, destination: Destination) -> Sentence | None:
        host = host_of(destination).rstrip(".")
        if (literal := literal_address(host)) is not None:
            return self._judge_address(host, literal)
        if host in _METADATA_HOSTS:
            return Sentence("{host} is a cloud metadata service, which is never called", host=host)
        local = host in _LOCAL_HOSTS or host.endswith(".localhost")
        if local and self._block_private and not self._host_allowed(host):
            return _private(host)
        return None

    def _judge_address(self, host: str, address: Address) -> Sentence | None:
        forms = tuple(_forms(address))
        if any(_within(form, _ALWAYS_REFUSED) for form in forms):
            return Sentence(
                "{address} is a link-local, metadata, multicast or reserved address, which is never called",
                address=address,
            )
        if not self._block_private or self._host_allowed(host):
            return None
        if any(_within(form, _PRIVATE) and not _within(form, self._allowed_networks) for form in forms):
            return _private(address)
        return None

    def _host_allowed(self, host: str) -> bool:
        return host in self._allowed_hosts or any(host.endswith(suffix) for suffix in self._allowed_suffixes)


_NO_ADDRESS = Sentence("the name resolves to something that is no IP address")


def _private(place: object) -> Sentence:
    return Sentence(
        "{place} is loopback or a private network, which WEBHOOK_BLOCK_PRIVATE forbids unless WEBHOOK_ALLOW names it",
        place=place,
    )


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _forms(address: Address) -> Iterator[Address]:
    """Yield the address and every IPv4 address it may stand for."""
    yield address
    if isinstance(address, IPv6Address) and int(address) > 1:  # :: and ::1 lie in the compatible range, but mean more
        for network, shift, mask in _EMBEDDED:
            if address in network:
                yield IPv4Address(int(address) >> shift & 0xFFFF_FFFF ^ mask)


def host_of(destination: Destination) -> str:
    """Return the host of a destination, without an IPv6 address's brackets."""
    return destination.partition("://")[2].rpartition(":")[0].strip("[]")


def literal_address(host: str) -> Address | None:
    """Return the address that ``host`` spells, ``None`` where it is a name.

    IPv4 is read as the operating system would: ``127.1``, ``0x7f000001``, ``0177.0.0.1`` and ``2130706433`` all are
    127.0.0.1.
    """
    try:
        return IPv4Address(socket.inet_aton(host)) if ":" not in host else ip_address(host.partition("%")[0])
    except (OSError, ValueError):
        return None

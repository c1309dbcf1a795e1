"""The address policy, judged on the rule: nothing is connected to."""

from __future__ import annotations

import pytest

from aioscheduler.domain.target import check_url
from aioscheduler.engine.guard import AddressRefused, Guard
from aioscheduler.errors import ConfigError, InvalidInput

OPEN = Guard(block_private=False, allow=[])
CLOSED = Guard(block_private=True, allow=[])

ALWAYS_REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:102:304:0:0:5601:5601",  # Teredo client, inverted bits of 169.254.169.254
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "64:ff9b:1::1.1.1.1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
    "2001:0:102:304::80ff:fffe",  # Teredo client, inverted bits of 127.0.0.1
]
PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2002:101:101::1",
    "64:ff9b::1.1.1.1",
    "::ffff:1.1.1.1",
]


def url_of(address: str) -> str:
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_metadata_link_local_and_reserved_addresses_are_refused_whatever_the_settings(address: str) -> None:
    everything = Guard(block_private=True, allow=["0.0.0.0/0", "::/0", "name.test"])
    for guard in (OPEN, CLOSED, everything):
        with pytest.raises(InvalidInput, match=r"^webhookUrl: .* never called"):
            guard.check_url(url_of(address))
        with pytest.raises(AddressRefused):
            guard.check_address("name.test", address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_only_when_the_setting_says_so(address: str) -> None:
    assert OPEN.check_url(url_of(address)) == check_url(url_of(address))
    OPEN.check_address("name.test", address)
    with pytest.raises(InvalidInput, match=r"^url: .*WEBHOOK_BLOCK_PRIVATE.*WEBHOOK_ALLOW") as caught:
        CLOSED.check_url(url_of(address), "url")
    assert list(caught.value.errors) == ["url"]
    with pytest.raises(AddressRefused, match="WEBHOOK_BLOCK_PRIVATE"):
        CLOSED.check_address("name.test", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_up_to_the_edges_of_the_networks_pass(address: str) -> None:
    assert CLOSED.check_url(url_of(address)) == check_url(url_of(address))
    CLOSED.check_address("name.test", address)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "[::1%25lo]",
        "[0:0:0:0:0:0:0:1]",
        "[::FFFF:127.0.0.1]",
        "user:secret@127.0.0.1",
        "public.example@127.0.0.1:8080",
        "127。0。0。1",
        "127.0.0.1",
    ],
)
def test_no_spelling_of_a_loopback_address_slips_past(host: str) -> None:
    with pytest.raises(InvalidInput, match="WEBHOOK_BLOCK_PRIVATE"):
        CLOSED.check_url(f"http://{host}/")


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"])
def test_no_spelling_of_the_metadata_address_slips_past(host: str) -> None:
    with pytest.raises(InvalidInput, match="never called"):
        OPEN.check_url(f"http://{host}/")


@pytest.mark.parametrize(
    "host", ["metadata.google.internal", "Metadata.Google.Internal.", "instance-data.ec2.internal"]
)
def test_metadata_services_are_refused_by_name(host: str) -> None:
    with pytest.raises(InvalidInput, match="metadata"):
        Guard(block_private=False, allow=[host]).check_url(f"http://{host}/computeMetadata/v1/")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "api.localhost", "localhost.localdomain"])
def test_names_of_the_machine_itself_count_as_private(host: str) -> None:
    OPEN.check_url(f"http://{host}:9000/")
    with pytest.raises(InvalidInput, match="WEBHOOK_BLOCK_PRIVATE"):
        CLOSED.check_url(f"http://{host}:9000/")


@pytest.mark.parametrize(
    "host", ["notlocalhost", "localhost.example.com", "metadata.example.com", "1.2.3.4.example.com"]
)
def test_names_that_only_look_alike_pass(host: str) -> None:
    CLOSED.check_url(f"http://{host}/")


def test_a_network_in_the_allow_list_opens_its_addresses_and_no_others() -> None:
    guard = Guard(block_private=True, allow=["10.1.0.0/16", "192.168.0.7", "fd00:1::/32", "[::1]"])
    for address in ("10.1.2.3", "192.168.0.7", "fd00:1::5", "::1", "::ffff:10.1.2.3"):
        guard.check_url(url_of(address))
        guard.check_address("name.test", address)
    for address in ("10.2.0.1", "192.168.0.8", "fd00:2::5", "127.0.0.1"):
        with pytest.raises(InvalidInput):
            guard.check_url(url_of(address))


def test_a_host_in_the_allow_list_opens_the_private_addresses_it_resolves_to() -> None:
    guard = Guard(block_private=True, allow=["n8n.internal", "*.svc.cluster.local", "localhost", "Upper.Test."])
    guard.check_url("http://localhost:5678/")
    for host in ("n8n.internal", "a.svc.cluster.local", "A.B.SVC.cluster.local.", "upper.test"):
        guard.check_address(host, "10.0.0.1")
    for host in ("x.n8n.internal", "svc.cluster.local", "evilsvc.cluster.local", "n8n.internal.example.com"):
        with pytest.raises(AddressRefused):
            guard.check_address(host, "10.0.0.1")


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "http://host", "host:80", "*", "*suffix", "a b", "", "host/path"])
def test_an_allow_list_with_nonsense_in_it_is_a_settings_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="WEBHOOK_ALLOW"):
        Guard(block_private=True, allow=[entry])


def test_something_that_is_no_address_is_refused_at_connect_time() -> None:
    with pytest.raises(AddressRefused):
        OPEN.check_address("name.test", "not-an-address")


def test_an_illegal_url_is_refused_before_it_is_judged() -> None:
    with pytest.raises(InvalidInput, match="absolute"):
        OPEN.check_url("ftp://example.com/")

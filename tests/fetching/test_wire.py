"""The rules for connections: which hosts and addresses requests go to, and what they contain."""

import httpx2
import pytest

from modules.base.errors import WebuiError
from modules.fetching.wire import HUB, GuardedTransport, client

PUBLIC, CDN = "93.184.215.14", "cdn-lfs-us-1.hf.co"


class Net:
    """A fake network: answers by host, and records each request as it would be sent."""

    def __init__(self, redirects: dict[str, str], addresses: dict[str, list[str]] | None = None) -> None:
        self.redirects = redirects
        self.addresses = addresses or {}
        self.sent: list[httpx2.Request] = []

    def resolve(self, host: str, port: int) -> list[str]:
        return self.addresses.get(host, [PUBLIC])

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        there = self.redirects.get(request.headers["host"])
        return httpx2.Response(302, headers={"Location": there}) if there else httpx2.Response(200, content=b"file")

    def get(self, url: str, home: str = HUB) -> httpx2.Response:
        transport = GuardedTransport(home, self.resolve, inner=httpx2.MockTransport(self.answer))
        with client(transport, "hf_secret") as asking:
            return asking.get(url)


def test_a_file_host_of_the_hub_is_asked_without_the_token() -> None:
    net = Net({"huggingface.co": f"https://{CDN}/blob?key=1"})
    assert net.get(f"{HUB}/a/b/resolve/main/c").content == b"file"
    first, second = net.sent
    assert first.headers["authorization"] == "Bearer hf_secret"
    assert "authorization" not in second.headers
    assert (first.url.host, second.url.host) == (PUBLIC, PUBLIC)  # the address that was checked
    assert second.headers["host"] == CDN
    assert second.extensions["sni_hostname"] == CDN


@pytest.mark.parametrize(
    "there",
    [
        "https://example.com/x", f"http://{CDN}/x", "https://hf.co.example.com/x", "https://evilhf.co/x",
        "https://127.0.0.1/x", "https://huggingface.co@example.com/x", "http://huggingface.co/x",
    ],
)  # fmt: skip
def test_other_hosts_are_not_asked(there: str) -> None:
    net = Net({"huggingface.co": there})
    with pytest.raises(WebuiError, match="sent the download on to"):
        net.get(f"{HUB}/a")
    assert len(net.sent) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "192.168.1.1"])
@pytest.mark.parametrize("host", ["huggingface.co", CDN])
def test_private_addresses_are_not_asked(address: str, host: str) -> None:
    net = Net({"huggingface.co": f"https://{CDN}/x"}, {host: [PUBLIC, address]})
    with pytest.raises(WebuiError, match="is in a private network"):
        net.get(f"{HUB}/a")


def test_a_mirror_may_be_anywhere_and_leads_to_file_hosts_alone() -> None:
    mirror = "http://hub.local:8080"
    net = Net({}, {"hub.local": ["192.168.1.5"]})
    assert net.get(f"{mirror}/a", mirror).content == b"file"
    net = Net({"hub.local:8080": "http://192.168.1.5:9/x"}, {"hub.local": ["192.168.1.5"]})
    with pytest.raises(WebuiError, match="sent the download on to"):
        net.get(f"{mirror}/a", mirror)


def test_redirects_end() -> None:
    net = Net({"huggingface.co": f"{HUB}/again"})
    with pytest.raises(httpx2.TooManyRedirects):
        net.get(f"{HUB}/a")

"""The transport against real servers: the sandbox plays vendors, hand-made servers play bad wires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.sandbox import Sandbox
from airflow_provider_proxyorders.transport.flow import arun
from airflow_provider_proxyorders.transport.retries import READ_TRIES
from airflow_provider_proxyorders.transport.triggerer import AsyncHttp
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.base import Vendor
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response
from tests.vendors import REQUESTS, VENDORS

__all__ = ["VENDORS"]

SECRET = "key-that-nobody-may-see"


class Naps(list[float]):
    """Stands in for sleeping: notes how long, and is awake at once."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)

    async def aside(self, seconds: float) -> None:
        self.append(seconds)


class Side:
    """One of the two sides of the transport, called in the same way.

    :param name: ``run`` on requests, or ``arun`` on aiohttp.
    :ivar tries: how often a reading call is tried in all. In the triggerer, the backoff decides about another try.
    """

    def __init__(self, name: str):
        self.name = name
        self.tries = READ_TRIES if name == "run" else 1
        self.naps = Naps()

    def __call__(self, account: Account, *flows: Flow[Any]) -> Any:
        """Drive flows to their ends, one after the other on one kept client; returns the last result."""
        result = None
        if self.name == "run":
            http = Http(account, sleep=self.naps)
            try:
                for flow in flows:
                    result = http.run(flow)
            finally:
                http.close()
            return result

        async def drive() -> Any:
            result = None
            client = AsyncHttp(account, sleep=self.naps.aside)
            try:
                for flow in flows:
                    result = await arun(flow, client.asend)
            finally:
                await client.aclose()
            return result

        return asyncio.run(drive())


def ask(request: Request | None = None) -> Flow[Response]:
    """A flow of one request; returns its answer."""
    return (yield request or Request("GET", "/thing", "read thing"))


def account(base_url: str, **fields: Any) -> Account:
    return Account(
        **{
            "vendor": "somebody",
            "conn_id": "some_conn",
            "wallet": "somebody:main",
            "base_url": base_url,
            "secret": SECRET,
            "timeout": 2.0,
            **fields,
        }
    )


def vendor_of(box: Sandbox, name: str, **fields: Any) -> Vendor:
    """A vendor of the sandbox, ready to make flows."""
    own = {"vendor": name, "base_url": box.url(name), "secret": box.token(name), "wallet": f"{name}:main"}
    return VENDORS[name](account(**{**own, **fields}))


def create(vendor: Vendor) -> Flow[Any]:
    """The flow that buys at a vendor."""
    return vendor.create(vendor.prepare_create(REQUESTS[vendor.name], "reference-1").body)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment free of this machine's proxies and certificates."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=["run", "arun"])
def side(request: pytest.FixtureRequest) -> Side:
    """Both sides in turn."""
    return Side(request.param)


@pytest.fixture
def worker() -> Side:
    """The side of workers, which tries a reading call again."""
    return Side("run")


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox.start(port=0) as box:
        yield box


@pytest.fixture(params=sorted(VENDORS))
def vendor(request: pytest.FixtureRequest, box: Sandbox) -> Vendor:
    """Each vendor in turn."""
    return vendor_of(box, request.param)


@pytest.fixture(scope="session")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The server's side of an untrusted certificate, and its file."""
    from tests.transport.wires import certificate

    return certificate(tmp_path_factory.mktemp("certificate"))


Ask = Callable[..., Flow[Response]]

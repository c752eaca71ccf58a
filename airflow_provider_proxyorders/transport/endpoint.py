"""What both HTTP clients share: addresses, proxies, headers, pace, and which answers are worth another try."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError, VendorUnavailable
from airflow_provider_proxyorders.wire.messages import Request, Response

if TYPE_CHECKING:
    import tenacity


#: A reading call is tried this often in all before its last answer counts.
READ_TRIES = 4


#: A vendor that asks for a longer pause than this is given it by ending the call, not by holding a worker.
LONGEST_PAUSE = 20.0


#: No answer of these APIs is anywhere near this size, in bytes.
LARGEST_BODY = 32 * 1024 * 1024


USER_AGENT = "airflow-provider-proxyorders"


class Unreached(Exception):
    """A try that got no answer.

    :param left: whether anything of the request can have reached the vendor.
    """

    def __init__(self, message: str, *, left: bool):
        self.left = left
        super().__init__(message)


class Pacer:
    """Spaces the calls of one account, so that no more than ``rate`` a second leave this process."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic):
        self._gap = 1.0 / rate if rate else 0.0
        self._clock = clock
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self) -> float:
        """Take the next place; returns the seconds to wait for it."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = self._clock()
            place = max(now, self._next)
            self._next = place + self._gap
            return place - now


class Endpoint:
    """What both sides share: addresses, headers, pace, and which answers are worth another try."""

    def __init__(self, account: Account, tries: int = READ_TRIES):
        self.account = account
        self._tries = tries
        self._pacer = Pacer(account.requests_per_second)
        self._sound: dict[str, str] = {}
        self._password = ""
        scheme, host = self._where()
        proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
        self.proxy = self._through(scheme, f"http://{proxy}" if proxy and "://" not in proxy else proxy)

    def _where(self) -> tuple[str, str]:
        """Scheme and host of the account's base URL.

        :raises ConfigError: when it is no plain address; it is not shown where it may hold a login.
        """
        base_url = self.account.base_url
        try:
            parts = urlsplit(base_url)
            host, _ = parts.hostname, parts.port
        except ValueError:  # brackets or a port that make no sense
            host, parts = None, urlsplit("")
        if "@" in base_url:
            raise self.misconfigured("host must not hold a login; the key belongs into the password")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise self.misconfigured(f"host must be an address such as https://api.example.com, got {base_url!r}")
        return parts.scheme, host

    def _through(self, scheme: str, proxy: str | None) -> str | None:
        """The environment's proxy.

        :raises ConfigError: when it is no address; the HTTP libraries would show its password.
        """
        if not proxy:
            return None
        try:
            parts = urlsplit(proxy)
            there = parts.hostname and (parts.port or True) and not (parts.path.strip("/") or parts.query or parts.fragment)
        except ValueError:
            there = False
        if not there:
            raise self.misconfigured(
                f"the proxy that the environment names for {scheme} (such as {scheme.upper()}_PROXY) is no address such as "
                "http://name:password@proxy.example.com:3128; in a password other signs than letters and digits are written "
                "as %23 and the like"
            )
        self._password = parts.password or ""
        return proxy

    def clean(self, said: str) -> str:
        """What a library says, without secrets and not too long."""
        for password in {self._password, unquote(self._password)} - {""}:
            said = said.replace(password, "***")
        return self.account.redact(said)[:200]

    def misconfigured(self, what: str) -> ConfigError:
        return ConfigError(f"connection {self.account.conn_id!r}: {what}. Nothing was sent.")

    @cached_property
    def trusted(self) -> str:
        """The file or folder of the certificate authorities that count, for both sides: requests' own rule.

        :raises ConfigError: when the environment names one that is not there.
        """
        import certifi

        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            named = os.environ.get(name)
            if named and not os.path.exists(named):
                raise self.misconfigured(f"{name} names {named!r}, which is not there")
            if named:
                return named
        return certifi.where()

    def url(self, request: Request) -> str:
        return self.account.base_url.rstrip("/") + request.path

    def headers(self, request: Request) -> dict[str, str]:
        """What is sent beside the body.

        :raises ConfigError: when a value, in practice a key, cannot be sent; the HTTP libraries would show it.
        """
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT, **request.headers}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if headers == self._sound:  # a poller sends the same ones thousands of times
            return headers
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()) or value != value.strip():
                raise self.misconfigured(
                    f"what goes into the header {name} has a space at an end, a line break or a letter that HTTP cannot carry; "
                    "copy the key into the password anew"
                )
        self._sound = headers
        return headers

    def retrying(self, kind: type[Any], sleep: Callable[[float], Any]) -> Any:
        import tenacity

        return kind(
            sleep=sleep,
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self._tries), _asks_too_long),  # type: ignore[arg-type]
            wait=_pause,
            retry=tenacity.retry_if_exception_type(Unreached) | tenacity.retry_if_result(_passing),
            retry_error_callback=lambda state: state.outcome.result(),  # the last answer, or the last Unreached
        )

    def unavailable(self, request: Request, error: Unreached) -> VendorUnavailable:
        return VendorUnavailable(
            f"{self.account.vendor} at {self.account.base_url} gave no answer ({request.name or request.path}): "
            f"{self.clean(str(error))}. This was a reading call; it moved no money."
        )


def _passing(response: Response) -> bool:
    return response.status in (429, 500, 502, 503, 504)


def _asks_too_long(state: tenacity.RetryCallState) -> bool:
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return False
    asked = outcome.result().retry_after
    return asked is not None and asked > LONGEST_PAUSE


def _pause(state: tenacity.RetryCallState) -> float:
    import tenacity

    grown = float(tenacity.wait_random_exponential(multiplier=0.5, max=8)(state))
    outcome = state.outcome
    if outcome is None or outcome.failed:
        return grown
    return max(grown, outcome.result().retry_after or 0.0)

"""Address, proxy, certificates and headers of an account's requests, alike for both HTTP clients.

One rule: a mistake in the connection or the environment is a :class:`ConfigError` before anything is sent. Its text is free of
secrets, in contrast to the errors of HTTP libraries.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError, VendorUnavailable
from airflow_provider_proxyorders.transport.pace import Pacer
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import KEY_IN_PATH, Request

#: Bytes. Every real answer of these APIs is far smaller.
LARGEST_BODY = 32 * 1024 * 1024
TOO_LONG = "the answer is longer than 32 MiB"
USER_AGENT = "airflow-provider-proxyorders"
#: A key that is one part of a path, and stays one on the way.
_ONE_PART = re.compile(r"(?!\.{1,2}$)[^\s/?#\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def with_key(account: Account, url: str) -> str:
    """An address as it leaves: with the account's key in the place of :data:`KEY_IN_PATH`."""
    path, mark, query = url.partition("?")
    if not _holds_key(path):
        return url
    key = quote(account.secret, safe="")
    return "/".join(key if part == KEY_IN_PATH else part for part in path.split("/")) + mark + query


class Endpoint:
    """Base of both HTTP clients.

    :ivar proxy: the environment's proxy for this address, if it names one.
    """

    def __init__(self, account: Account):
        self.account = account
        self._pacer = Pacer(account.requests_per_second) if account.requests_per_second else None
        self._base_url = account.base_url.rstrip("/")
        self._valid_headers: dict[str, str] = {}
        self._proxy_password = ""
        self.proxy = self._read_proxy(self._read_base_url())

    def url(self, request: Request) -> str:
        """The address of a request, still with :data:`KEY_IN_PATH` in it.

        :raises ConfigError: for a key that cannot be a part of a path.
        """
        if _holds_key(request.path) and not _ONE_PART.fullmatch(self.account.secret):
            raise self.misconfigured(
                "the key goes into the address of each call, so it must be without spaces, slashes, question marks and number "
                "signs; copy the key into the password again"
            )
        return self._base_url + request.path

    def headers(self, request: Request) -> dict[str, str]:
        """The headers of a request.

        :raises ConfigError: for a value outside the rules of HTTP, in practice a key.
        """
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT, **request.headers}
        if request.json is not None:
            headers["Content-Type"] = "application/json"
        if headers == self._valid_headers:  # a poller sends the same ones thousands of times
            return headers
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()) or value != value.strip():
                raise self.misconfigured(
                    f"the value of header {name} begins or ends with a space, or holds a line break or a letter outside ASCII; "
                    "copy the key into the password again"
                )
        self._valid_headers = headers
        return headers

    @cached_property
    def certificates(self) -> str:
        """The file or folder of the trusted certificate authorities. Both clients follow the rule of requests.

        :raises ConfigError: when the environment names a missing one.
        """
        import certifi

        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            path = os.environ.get(name)
            if path and not os.path.exists(path):
                raise self.misconfigured(f"{name} is {path!r}, and this file is missing")
            if path:
                return path
        return certifi.where()

    def clean(self, text: str) -> str:
        """A library's text without secrets, at most 200 characters."""
        for password in {self._proxy_password, unquote(self._proxy_password)} - {""}:
            text = text.replace(password, "***")
        return self.account.redact(text)[:200]

    def misconfigured(self, problem: str) -> ConfigError:
        return ConfigError(f"connection {self.account.conn_id!r}: {problem}. Nothing was sent.")

    def invalid_address(self, error: Exception) -> ConfigError:
        """The error for an address that a library refuses."""
        return self.misconfigured(f"its address is invalid: {self.clean(str(error))}")

    def unavailable(self, request: Request, error: Unreached) -> VendorUnavailable:
        return VendorUnavailable(
            f"{self.account.vendor} at {self.account.base_url} gave no answer ({request.name or request.path}): "
            f"{self.clean(str(error))}. This was a reading call; it moved no money. Check the host of "
            f"connection {self.account.conn_id!r} and the way to it."
        )

    def _read_base_url(self) -> str:
        """The scheme of the account's base URL.

        :raises ConfigError: for an invalid one; the text omits a possible login.
        """
        base_url = self.account.base_url
        try:
            parts = urlsplit(base_url)
            host, _ = parts.hostname, parts.port
        except ValueError:  # invalid brackets or port
            host, parts = None, urlsplit("")
        if "@" in base_url:
            raise self.misconfigured("host must not hold a login; the key belongs into the password")
        odd = parts.query or parts.fragment or "\\" in base_url  # after a backslash two libraries see two hosts
        if parts.scheme not in ("http", "https") or not host or odd:
            raise self.misconfigured(f"host must be an address such as https://api.example.com, got {base_url!r}")
        return parts.scheme

    def _read_proxy(self, scheme: str) -> str | None:
        """The environment's proxy for the account's address. The rules are those of requests: ``ALL_PROXY`` counts, and so do
        networks in ``NO_PROXY``.

        :raises ConfigError: for an invalid one; the text omits it, since it may hold a password.
        """
        from requests.utils import get_environ_proxies, select_proxy

        proxy = select_proxy(self._base_url, get_environ_proxies(self._base_url))
        if not proxy:
            return None
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            parts = urlsplit(proxy)
            valid = parts.hostname and (parts.port or True) and not (parts.path.strip("/") or parts.query or parts.fragment)
        except ValueError:
            valid = False
        if not valid:
            raise self.misconfigured(
                f"the proxy of the environment for {scheme} (such as {scheme.upper()}_PROXY or ALL_PROXY) must be an address "
                "such as http://name:password@proxy.example.com:3128; write other signs than letters and digits in a password as "
                "%23 and the like"
            )
        self._proxy_password = parts.password or ""
        return proxy


def _holds_key(path: str) -> bool:
    return KEY_IN_PATH in path.split("/")

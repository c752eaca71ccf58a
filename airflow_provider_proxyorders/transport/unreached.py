"""A request without a usable answer: the reason, and whether the request can have reached the vendor.

One rule: a request counts as arrived, unless the library proves the lack of any connection to the vendor.
"""

from __future__ import annotations

import ssl
from typing import Any


class Unreached(Exception):
    """A try without a usable answer.

    :param left: whether anything of the request can have reached the vendor.
    """

    def __init__(self, message: str, *, left: bool):
        self.left = left
        super().__init__(message)


def of_requests(error: Exception) -> Unreached:
    """The meaning of an error of requests, or of urllib3 below it."""
    from urllib3.exceptions import MaxRetryError

    cause: Any = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason or cause
    text = str(cause).rpartition(": ")[2] or str(cause)  # the rest holds the whole URL
    return Unreached(f"{type(error).__name__}: {text}", left=_may_have_left(error))


def of_aiohttp(error: Exception) -> Unreached:
    """The meaning of an error of aiohttp. It sends only reads, and these count as arrived."""
    import aiohttp

    text = str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}"  # the rest holds an address; that of a proxy holds its login
    return Unreached(f"{type(error).__name__}{': ' + text if text else ''}", left=True)


def invalid_addresses() -> tuple[type[Exception], ...]:
    """The errors of requests and urllib3 for an invalid base URL or proxy URL. They come before any connection is made."""
    import requests
    from urllib3.exceptions import LocationValueError

    return requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError


def _may_have_left(error: Exception) -> bool:
    import requests
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProxyError, SSLError

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return False
    cause: Any = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, ProxyError):  # also raised when the proxy hangs up after it took the request
        cause = cause.original_error
        if str(cause).startswith("Tunnel connection failed"):  # the proxy opened no way to the vendor
            return False
    if isinstance(cause, (NewConnectionError, ConnectTimeoutError)):
        return False
    if isinstance(cause, SSLError) and cause.args:
        cause = cause.args[0]
    return not isinstance(cause, ssl.SSLCertVerificationError)

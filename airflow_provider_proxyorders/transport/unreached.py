"""A request without a usable answer, and the reason in a text without its address."""

from __future__ import annotations

from typing import Any


class Unreached(Exception):
    """A try without a usable answer."""


def of_requests(error: Exception) -> Unreached:
    """The meaning of an error of requests, or of urllib3 below it."""
    from urllib3.exceptions import MaxRetryError

    cause: Any = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason or cause
    text = str(cause.args[-1] if getattr(cause, "args", None) else cause)  # before it may come an object
    return Unreached(f"{type(error).__name__}: {text.rpartition(': ')[2] or text}")  # the rest holds the whole URL


def of_aiohttp(error: Exception) -> Unreached:
    """The meaning of an error of aiohttp."""
    import aiohttp

    text = str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}"  # the rest holds an address; that of a proxy holds its login
    return Unreached(f"{type(error).__name__}{': ' + text if text else ''}")


def invalid_addresses() -> tuple[type[Exception], ...]:
    """The errors of requests and urllib3 for an invalid base URL or proxy URL. They come before any connection is made."""
    import requests
    from urllib3.exceptions import LocationValueError

    return requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError

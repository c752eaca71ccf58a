"""Runs a vendor's flow over HTTP: ``run`` on requests in workers, ``arun`` on aiohttp in the triggerer.

Three rules: a spending request is sent at most once, and only by a caller that brings a permit, so whatever runs
without one cannot spend; reading requests are repeated a few times with growing, jittered pauses; and an error says
whether the request can have reached the vendor. aiohttp in the triggerer is chosen by measurement: it takes a tenth of
the CPU of the async alternatives for a request.
"""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from airflow_provider_proxyorders.core.account import Account
from airflow_provider_proxyorders.core.errors import (
    ConfigError,
    NeverSent,
    OutcomeUnknown,
    SpendRefused,
    VendorUnavailable,
)
from airflow_provider_proxyorders.core.wire import Flow, Request, Response

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import requests
    import tenacity

T = TypeVar("T")

#: Called right before a spending request leaves; raises to stop it.
Permit = Callable[[Request], None]

#: A reading call is tried this often in all before its last answer counts.
READ_TRIES = 4
#: A vendor that asks for a longer pause than this is given it by ending the call, not by holding a worker.
LONGEST_PAUSE = 20.0
#: A kept connection that was idle for longer may have been closed by the vendor; a purchase gets a new one.
STALE_AFTER = 3.0
#: No answer of these APIs is anywhere near this size, in bytes.
LARGEST_BODY = 32 * 1024 * 1024

#: Seconds that an idle connection of the triggerer is kept for the next look; many servers close it about then.
KEPT = 60.0
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


def run(flow: Flow[T], send: Callable[[Request], Response], permit: Permit | None = None) -> T:
    """Drive a flow to its result.

    :param send: sends one request; for a spending one it must not try twice.
    :param permit: without it a spending request is refused, unsent.
    """
    try:
        request = next(flow)
        while True:
            try:
                response = _allowed(request, permit, send)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


async def arun(flow: Flow[T], send: Callable[[Request], Awaitable[Response]]) -> T:
    """Drive a flow that only reads; a spending request is refused, unsent. There is no permit on this side."""
    try:
        request = next(flow)
        while True:
            if request.spends:
                raise _refused(request)
            try:
                response = await send(request)
            except VendorUnavailable as error:
                request = flow.throw(error)
            else:
                request = flow.send(response)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()


def _allowed(request: Request, permit: Permit | None, send: Callable[[Request], Response]) -> Response:
    if request.spends:
        if permit is None:
            raise _refused(request)
        permit(request)
    return send(request)


def _refused(request: Request) -> SpendRefused:
    what = request.name or request.path
    return SpendRefused(f"{what} would move money, and only an operator in a worker may. Nothing was sent.")


class _Common:
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


# ---------------------------------------------------------------------------------------------- workers: requests


class Http(_Common):
    """One kept HTTP session for one account, for workers.

    :param sleep: waits between tries; tests inject one.
    """

    def __init__(self, account: Account, sleep: Callable[[float], None] = time.sleep):
        super().__init__(account)
        self._sleep = sleep
        self._used = 0.0
        self._session: requests.Session | None = None

    @property
    def session(self) -> requests.Session:
        """The session in use; it sends no ``.netrc`` login and follows no redirect."""
        if self._session is None:
            from http.cookiejar import DefaultCookiePolicy

            import requests

            session = requests.Session()
            session.trust_env = False  # a .netrc entry would silently replace the Authorization header
            session.verify = self.trusted
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no answer depends on who asked before
            session.get_redirect_target = _nowhere  # type: ignore[assignment]
            if self.proxy:
                session.proxies = {"http": self.proxy, "https": self.proxy}
            self._bound(session)
            self._session = session
        return self._session

    def _bound(self, session: requests.Session) -> None:
        """Give every connection a time limit for whole answers."""
        from airflow_provider_proxyorders.core.deadline import POOLS

        for adapter in session.adapters.values():
            adapter.poolmanager.pool_classes_by_scheme = POOLS  # type: ignore[attr-defined]
            if self.proxy and not self.proxy.lower().startswith("socks"):
                adapter.proxy_manager_for(self.proxy).pool_classes_by_scheme = POOLS  # type: ignore[attr-defined]

    def run(self, flow: Flow[T], permit: Permit | None = None) -> T:
        """Drive a flow to its result; see :func:`run`.

        :raises ProxyOrdersError: the error says what happened to the money.
        """
        return run(flow, self.send, self._in_pace(permit) if permit is not None else None)

    def _in_pace(self, permit: Permit) -> Permit:
        """A purchase waits for its place before it gets its permit: from then on nothing of ours may hold it up."""

        def paced(request: Request) -> None:
            self._wait_for_place()
            permit(request)

        return paced

    def _wait_for_place(self) -> None:
        delay = self._pacer.reserve()
        if delay:
            self._sleep(delay)

    def send(self, request: Request) -> Response:
        """Send one request: a spending one exactly once, a reading one with a few more tries.

        :raises NeverSent: a purchase that provably did not leave.
        :raises OutcomeUnknown: a purchase that may have arrived.
        :raises VendorUnavailable: a reading call without an answer.
        """
        if request.spends:
            return self._spend(request)
        import tenacity

        try:
            response: Response = self.retrying(tenacity.Retrying, self._sleep)(self._once, request)
            return response
        except Unreached as error:
            raise self.unavailable(request, error) from None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def _spend(self, request: Request) -> Response:
        if time.monotonic() - self._used > STALE_AFTER and self._session is not None:
            self._session.close()  # drops idle connections; the session itself stays usable
        try:
            return self._once(request)
        except Unreached as error:
            said = self.clean(str(error))
            if not error.left:
                raise NeverSent(
                    f"no connection to {self.account.vendor} at {self.account.base_url} could be made ({said}). "
                    "The purchase did not leave; nothing was bought."
                ) from None
            raise OutcomeUnknown(f"{self.account.vendor} gave no answer to the purchase ({said}).") from None

    def _once(self, request: Request) -> Response:
        import requests
        from urllib3.exceptions import HTTPError

        account, ready = self.account, self._ready(request)
        if not request.spends:
            self._wait_for_place()
        try:
            with self.session.send(
                ready,
                timeout=(min(account.timeout, 10.0), account.timeout),
                allow_redirects=False,
                **self.session.merge_environment_settings(ready.url, {}, True, None, None),
            ) as answer:
                body = bytearray()
                for chunk in answer.iter_content(65536):
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise Unreached("the answer did not end", left=True)
                return Response(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, bytes(body))
        except _no_address() as error:  # found before a connection is made: there is no other address than ours, see session
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:
            raise Unreached(_describe(error), left=_may_have_left(error)) from None  # also an answer that came and is none
        finally:
            self._used = time.monotonic()

    def _ready(self, request: Request) -> requests.PreparedRequest:
        """The request as it goes out. What is wrong with it shows here, so that nothing after it is taken for a proof.

        :raises ConfigError: when it cannot be sent; nothing was.
        """
        import requests

        headers = self.headers(request)
        try:
            return self.session.prepare_request(
                requests.Request(
                    request.method, self.url(request), headers, data=request.body, params=list(request.params) or None
                )
            )
        except (requests.exceptions.RequestException, ValueError) as error:
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None


def _nowhere(answer: object) -> None:
    """Where an answer redirects to, for requests, which would read the address even where nobody follows it."""


def _no_address() -> tuple[type[Exception], ...]:
    """What is raised where a request's own address, or the proxy's, turns out to be none."""
    import requests
    from urllib3.exceptions import LocationValueError

    return requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError


def _may_have_left(error: BaseException) -> bool:
    """Whether anything of a request can have reached the vendor: not where no connection was ever made."""
    import ssl

    import requests
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProxyError, SSLError

    if isinstance(error, requests.exceptions.ConnectTimeout):
        return False
    cause: Any = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    if isinstance(cause, ProxyError):  # says so as well when the proxy hangs up after it took the request
        cause = cause.original_error
        if str(cause).startswith("Tunnel connection failed"):  # the proxy opened no way to the vendor
            return False
    if isinstance(cause, (NewConnectionError, ConnectTimeoutError)):
        return False
    if isinstance(cause, SSLError) and cause.args:
        cause = cause.args[0]
    return not isinstance(cause, ssl.SSLCertVerificationError)


def _describe(error: BaseException) -> str:
    """The cause in a few words; the library's full text holds the whole URL."""
    from urllib3.exceptions import MaxRetryError

    cause: Any = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason or cause
    text = str(cause).rpartition(": ")[2] or str(cause)
    return f"{type(error).__name__}: {text}"


# ---------------------------------------------------------------------------------------------- triggerer: aiohttp


class AsyncHttp(_Common):
    """One kept HTTP client for one account, for the triggerer. It only reads.

    :param connections: how many connections to the vendor may be open at once.
    :param tries: how often a call is tried in all; 1 for a caller that has its own patience.
    :param sleep: waits between tries; tests inject one.
    """

    def __init__(
        self,
        account: Account,
        connections: int = 8,
        tries: int = READ_TRIES,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ):
        super().__init__(account, tries)
        self._connections = connections
        self._sleep = sleep
        self._client: aiohttp.ClientSession | None = None

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a reading flow to its result; see :func:`arun`.

        :raises SpendRefused: when the flow would move money; nothing was sent.
        """
        return await arun(flow, self.asend)

    async def asend(self, request: Request) -> Response:
        """Send one reading request, with a few more tries.

        :raises VendorUnavailable: without an answer.
        """
        try:
            if self._tries == 1:
                return await self._aonce(request)
            import asyncio

            import tenacity

            response: Response = await self.retrying(tenacity.AsyncRetrying, self._sleep or asyncio.sleep)(self._aonce, request)
            return response
        except Unreached as error:
            raise self.unavailable(request, error) from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _prepared(self) -> ssl.SSLContext | bool:
        """What takes a tenth of a second and needs no loop: importing the library, reading the certificate authorities."""
        import ssl

        import aiohttp  # noqa: F401 - so that it is there when the loop asks for it

        if urlsplit(self.account.base_url).scheme == "http":
            return True
        if os.path.isdir(self.trusted):
            return ssl.create_default_context(capath=self.trusted)
        return ssl.create_default_context(cafile=self.trusted)

    async def _aonce(self, request: Request) -> Response:
        import asyncio

        headers = self.headers(request)
        delay = self._pacer.reserve()
        if delay:
            await (self._sleep or asyncio.sleep)(delay)
        tls = await asyncio.to_thread(self._prepared) if self._client is None else True
        import aiohttp
        from yarl import URL

        if self._client is None:
            part = self.account.timeout
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=tls, keepalive_timeout=KEPT),
                timeout=aiohttp.ClientTimeout(total=2 * part, sock_connect=min(part, 10.0), sock_read=part),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._client.request(
                request.method,
                URL(self.url(request)),
                params=list(request.params) or None,
                data=request.body,
                headers=headers,
                allow_redirects=False,
                proxy=self.proxy,
            ) as answer:
                body = bytearray()
                while chunk := await answer.content.readany():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise Unreached("the answer did not end", left=True)
                return Response(answer.status, {k.lower(): v for k, v in answer.headers.items()}, bytes(body))
        except aiohttp.InvalidURL as error:
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:  # an untrusted certificate is a ValueError as well
            whole = not isinstance(error, aiohttp.ClientResponseError)  # else it holds an address, a proxy's with its login
            text = str(error) if whole else f"{error.status} {error.message}"  # type: ignore[union-attr]
            raise Unreached(f"{type(error).__name__}{': ' + text if text else ''}", left=True) from None
        except ValueError as error:
            raise self.misconfigured(f"it cannot be called: {self.clean(str(error))}") from None


async def aprobe(url: str, through: Sequence[str], *, timeout: float, at_once: int) -> list[tuple[int | None, float]]:
    """Fetch one page through each of several HTTP proxies; nothing of the account is sent.

    The environment's own proxies and exceptions do not count here, redirects are not followed.

    :param through: proxy URLs with their logins.
    :param timeout: seconds for one fetch in all.
    :param at_once: how many fetches at a time.
    :returns: for each the status, None without an answer, and the seconds it took.
    """
    import asyncio

    import aiohttp

    turn = asyncio.Semaphore(at_once)

    async def fetch(proxy: str) -> tuple[int | None, float]:
        async with turn:
            began = time.monotonic()
            status: int | None = None
            try:
                async with client.get(url, proxy=proxy, allow_redirects=False) as answer:
                    status = answer.status
            except aiohttp.ClientResponseError as error:  # a tunnel that the proxy refused
                status = error.status or None
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError):
                pass  # its text may hold the login
            return status, time.monotonic() - began

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once, force_close=True),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
    ) as client:
        return list(await asyncio.gather(*map(fetch, through)))


__all__ = ["AsyncHttp", "Http", "Pacer", "Permit", "Unreached", "aprobe", "arun", "run"]

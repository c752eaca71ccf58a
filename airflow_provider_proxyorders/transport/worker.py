"""The HTTP client of workers, on requests.

Two rules. A request with money in it is sent at most once, on a connection that stands before its permit is asked. Its error says
whether it may have reached the vendor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import NeverSent, OutcomeUnknown, ProxyOrdersError
from airflow_provider_proxyorders.transport import unreached
from airflow_provider_proxyorders.transport.clocks import VendorClock
from airflow_provider_proxyorders.transport.endpoint import LARGEST_BODY, TOO_LONG, Endpoint, with_key
from airflow_provider_proxyorders.transport.ends import agreed, is_proven_whole
from airflow_provider_proxyorders.transport.flow import Permit, T, refused, run
from airflow_provider_proxyorders.transport.retries import LONGEST_PAUSE, PASSING, read_again_if_unreadable, reading_tries
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

if TYPE_CHECKING:
    from concurrent.futures import Future

    import requests

#: Reading calls at a time. A pace of the account makes them fewer.
AT_ONCE = 8
#: Seconds. A vendor who answers more quickly is asked one thing after the other, on one connection.
SLOW_ANSWER = 0.05
#: Seconds. The vendor may have closed a kept connection that was idle for longer, so a purchase opens a new one.
STALE_AFTER = 3.0


class Http(Endpoint):
    """One kept HTTP session for one account, for workers.

    :param sleep: waits between tries; tests inject one.
    :param clock: the time of day in unix seconds; tests inject one.
    :cvar at_once: how many reading calls run at a time where several are asked for.
    :ivar vendor_clock: the vendor's clock beside ours, by its answers.
    :ivar answers_slowly: whether the last answer was good and slow. Several calls together are worth their connections then.
    :ivar ahead: reading requests on their way, each with its answer; see :func:`~transport.many.sent_ahead`.
    """

    at_once = AT_ONCE

    def __init__(self, account: Account, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.time):
        super().__init__(account)
        self._sleep, self._clock = sleep, clock
        self.vendor_clock = VendorClock(account.vendor)
        self._quiet_until = 0.0
        self._is_shared = self.answers_slowly = False
        self.ahead: list[tuple[Request, Future[Response]]] = []
        self._last_used = 0.0
        self._session: requests.Session | None = None

    def run(self, flow: Flow[T], permit: Permit | None = None) -> T:
        """Drive a flow to its result; see :func:`~airflow_provider_proxyorders.transport.flow.run`.

        :raises ProxyOrdersError: the error says what happened to the money.
        """
        return run(flow, self.send, permit)

    def run_reading(self, make: Callable[[], Flow[T]]) -> T:
        """Drive a reading flow whose answer decides about money. An unreadable answer is asked for again, a few times.

        Silence and passing trouble are tried again in every flow; see :meth:`send`.

        :param make: makes the flow, once for each try.
        :raises ProxyOrdersError: the last try's; it moved no money.
        """

        def read() -> T:
            try:
                return self.run(make())
            except ProxyOrdersError:
                self.ahead = []  # the next try asks anew
                raise

        return read_again_if_unreadable(read, self._sleep)

    def send(self, request: Request, permit: Permit | None = None) -> Response:
        """Send one request: a purchase exactly once, a reading call with a few more tries.

        :param permit: called for a purchase only, between its open connection and its first byte.
        :raises NeverSent: a purchase provably stayed here.
        :raises OutcomeUnknown: a purchase may have arrived.
        :raises VendorUnavailable: a reading call without an answer.
        """
        if request.spends:
            return self._spend(request, permit)
        if (answer := self._taken_ahead(request)) is not None:
            return answer
        try:
            return reading_tries(self._sleep)(self.read_once, request)
        except Unreached as error:
            raise self.unavailable(request, error) from None

    def _taken_ahead(self, request: Request) -> Response | None:
        """The answer to a request sent ahead. After trouble none of the others counts either: it would grow old meanwhile."""
        for number, (sent, answer) in enumerate(self.ahead):
            if sent == request:
                del self.ahead[number]
                with suppress(Unreached):
                    if (response := answer.result()).status not in PASSING:
                        return response
                self.ahead = []
                break
        return None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside the block several threads read, and all of them keep a pause for which the vendor asks one."""
        self._is_shared = True
        try:
            yield
        finally:
            self._is_shared = False

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def log_in(self, headers: Mapping[str, str]) -> requests.Session:
        """The session in use. It puts these headers on requests to the account's host, and on no others.

        :param headers: the account's authentication.
        """
        self.session.auth = partial(_authenticate, self._own_origin, headers)
        return self.session

    @property
    def session(self) -> requests.Session:
        """The session in use."""
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> requests.Session:
        """A session without ``.netrc`` logins, cookies and redirects, and with a time limit for every answer."""
        import requests

        from airflow_provider_proxyorders.transport.connections import Adapter

        session = requests.Session()
        session.trust_env = False  # a .netrc entry would silently replace the Authorization header
        session.verify = self.certificates
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no answer depends on an earlier request
        session.get_redirect_target = _no_redirect  # type: ignore[assignment]
        if self.proxy:
            session.proxies = {"http": self.proxy, "https": self.proxy}
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter(str))
        session.mount(self._own_origin, Adapter(partial(with_key, self.account)))
        return session

    @cached_property
    def _own_origin(self) -> str:
        """Scheme, host and port of the account, as each prepared address on its host begins.

        :raises ConfigError: for an invalid address.
        """
        import requests

        try:
            parts = urlsplit(str(requests.Request("GET", self._base_url).prepare().url))
        except (requests.exceptions.RequestException, ValueError) as error:
            raise self.invalid_address(error) from None
        return f"{parts.scheme}://{parts.netloc}/"

    def _wait_for_place(self) -> None:
        quiet = self._quiet_until - time.monotonic()
        if quiet > 0:
            pause = min(quiet, LONGEST_PAUSE)
            self._sleep(pause)
            self._quiet_until = time.monotonic() + quiet - pause
        if self._pacer is not None and (delay := self._pacer.reserve()):
            self._sleep(delay)

    def read_once(self, request: Request) -> Response:
        """The answer to a reading call, known to be whole. One try.

        :raises Unreached: without such an answer.
        :raises SpendRefused: it would move money. Nothing was sent.
        """
        if request.spends:
            raise refused(request)
        answer = self._ask(request)
        return answer if is_proven_whole(answer) else agreed(answer, self._ask(request))

    def _ask(self, request: Request) -> Response:
        ready = self._prepare(request)
        self._wait_for_place()
        answer = self._exchange(ready)
        if self._is_shared and answer.status in PASSING:
            pause = min(answer.retry_after or 0.0, LONGEST_PAUSE)
            self._quiet_until = max(self._quiet_until, time.monotonic() + pause)
        return answer

    def _spend(self, request: Request, permit: Permit | None) -> Response:
        self._wait_for_place()  # before the connection, which would grow old meanwhile
        if time.monotonic() - self._last_used > STALE_AFTER and self._session is not None:
            self._session.close()  # drops idle connections; the session itself stays usable
        from airflow_provider_proxyorders.transport.connections import Departure

        ready = self._prepare(request)
        departure = Departure(request.body, lambda: permit(request) if permit is not None else None)
        ready.body = departure  # type: ignore[assignment]
        try:
            response = self._exchange(ready)
            if not response.ok:  # whoever looks for it waits as long as the vendor asks, each request for a while
                self._quiet_until = time.monotonic() + (response.retry_after or 0.0)
            if not is_proven_whole(response):
                raise Unreached(f"its answer of {response.status} lacks a proof of its end")
            return response
        except Unreached as error:
            text = self.clean(str(error))
            if not departure.left:
                raise NeverSent(
                    f"the connection to {self.account.vendor} at {self.account.base_url} failed ({text}). "
                    "The purchase did not leave. This try bought nothing."
                ) from None
            raise OutcomeUnknown(f"{self.account.vendor} left the purchase unanswered ({text}).") from None

    def _prepare(self, request: Request) -> requests.PreparedRequest:
        """The request as it goes out. Its own faults show here, so every later error is one of the way or the vendor.

        :raises ConfigError: for an invalid address or header.
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
            raise self.invalid_address(error) from None

    def _exchange(self, ready: requests.PreparedRequest) -> Response:
        """Send a request once and read its answer to the end.

        :raises Unreached: without a usable answer.
        """
        import requests
        from urllib3.exceptions import HTTPError

        from airflow_provider_proxyorders.transport.connections import Stopped

        timeout, began = self.account.timeout, self._clock()
        try:
            with self.session.send(
                ready,
                timeout=(timeout, timeout),  # to open the connection, and for each part of the answer
                allow_redirects=False,
                **self.session.merge_environment_settings(ready.url, {}, True, None, None),
            ) as answer:
                body = self._body_of(answer)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                response = Response(answer.status_code, headers, body)
                ended = self._clock()
                self.vendor_clock.measure(response, began, ended)
                self.answers_slowly = response.ok and ended - began >= SLOW_ANSWER
                return response
        except Stopped as stopped:
            raise stopped.error from None
        except unreached.invalid_addresses() as error:  # raised before any connection, since redirects are off
            raise self.invalid_address(error) from None
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:  # also a malformed answer
            raise unreached.of_requests(error) from None
        finally:
            self._last_used = time.monotonic()

    def _body_of(self, answer: requests.Response) -> bytes:
        """:raises Unreached: for a longer one than any real answer."""
        body = bytearray()
        for chunk in answer.iter_content(65536):
            body += chunk
            if len(body) > LARGEST_BODY:
                raise Unreached(TOO_LONG)
        return bytes(body)


def _authenticate(origin: str, headers: Mapping[str, str], request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add the account's authentication to a request on its own host. A request with such headers of its own keeps them."""
    if str(request.url).startswith(origin):
        for name, value in headers.items():
            request.headers.setdefault(name, value)
    return request


def _no_redirect(answer: object) -> None:
    """Stands in for requests' search for the target of a redirect, which fails on an invalid one even when unused."""

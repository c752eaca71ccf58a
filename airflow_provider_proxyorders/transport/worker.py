"""The HTTP client of workers, on requests.

Two rules. A request with money in it is sent at most once. Its error says whether it may have reached the vendor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import NeverSent, OutcomeUnknown
from airflow_provider_proxyorders.transport import unreached
from airflow_provider_proxyorders.transport.endpoint import LARGEST_BODY, TOO_LONG, Endpoint
from airflow_provider_proxyorders.transport.flow import Permit, T, run
from airflow_provider_proxyorders.transport.retries import reading_tries
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

if TYPE_CHECKING:
    import requests

#: Seconds. The vendor may have closed a kept connection that was idle for longer, so a purchase opens a new one.
STALE_AFTER = 3.0


class Http(Endpoint):
    """One kept HTTP session for one account, for workers.

    :param sleep: waits between tries; tests inject one.
    """

    def __init__(self, account: Account, sleep: Callable[[float], None] = time.sleep):
        super().__init__(account)
        self._sleep = sleep
        self._last_used = 0.0
        self._session: requests.Session | None = None

    def run(self, flow: Flow[T], permit: Permit | None = None) -> T:
        """Drive a flow to its result; see :func:`~airflow_provider_proxyorders.transport.flow.run`.

        :raises ProxyOrdersError: the error says what happened to the money.
        """
        return run(flow, self.send, self._in_pace(permit) if permit is not None else None)

    def send(self, request: Request) -> Response:
        """Send one request: a purchase exactly once, a reading call with a few more tries.

        :raises NeverSent: a purchase provably stayed here.
        :raises OutcomeUnknown: a purchase may have arrived.
        :raises VendorUnavailable: a reading call without an answer.
        """
        if request.spends:
            return self._spend(request)
        try:
            return reading_tries(self._sleep)(self._read, request)
        except Unreached as error:
            raise self.unavailable(request, error) from None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    @property
    def session(self) -> requests.Session:
        """The session in use."""
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> requests.Session:
        """A session without ``.netrc`` logins, cookies and redirects, and with a time limit for every answer."""
        import requests

        from airflow_provider_proxyorders.transport.whole_answer import POOLS

        session = requests.Session()
        session.trust_env = False  # a .netrc entry would silently replace the Authorization header
        session.verify = self.certificates
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # no answer depends on an earlier request
        session.get_redirect_target = _no_redirect  # type: ignore[assignment]
        if self.proxy:
            session.proxies = {"http": self.proxy, "https": self.proxy}
        for adapter in session.adapters.values():
            adapter.poolmanager.pool_classes_by_scheme = POOLS  # type: ignore[attr-defined]
            if self.proxy and not self.proxy.lower().startswith("socks"):
                adapter.proxy_manager_for(self.proxy).pool_classes_by_scheme = POOLS  # type: ignore[attr-defined]
        return session

    def _in_pace(self, permit: Permit) -> Permit:
        """Let a purchase wait for its place before it gets its permit: afterwards it must leave without a delay."""

        def permit_in_pace(request: Request) -> None:
            self._wait_for_place()
            permit(request)

        return permit_in_pace

    def _wait_for_place(self) -> None:
        if self._pacer is not None and (delay := self._pacer.reserve()):
            self._sleep(delay)

    def _read(self, request: Request) -> Response:
        ready = self._prepare(request)
        self._wait_for_place()
        return self._exchange(ready)

    def _spend(self, request: Request) -> Response:
        if time.monotonic() - self._last_used > STALE_AFTER and self._session is not None:
            self._session.close()  # drops idle connections; the session itself stays usable
        ready = self._prepare(request)
        try:
            return self._exchange(ready)
        except Unreached as error:
            text = self.clean(str(error))
            if not error.left:
                raise NeverSent(
                    f"the connection to {self.account.vendor} at {self.account.base_url} failed ({text}). "
                    "The purchase did not leave; nothing was bought."
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

        timeout = self.account.timeout
        try:
            with self.session.send(
                ready,
                timeout=(min(timeout, 10.0), timeout),
                allow_redirects=False,
                **self.session.merge_environment_settings(ready.url, {}, True, None, None),
            ) as answer:
                body = bytearray()
                for chunk in answer.iter_content(65536):
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise Unreached(TOO_LONG, left=True)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(answer.status_code, headers, bytes(body))
        except unreached.invalid_addresses() as error:  # raised before any connection, since redirects are off
            raise self.invalid_address(error) from None
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:  # also a malformed answer
            raise unreached.of_requests(error) from None
        finally:
            self._last_used = time.monotonic()


def _no_redirect(answer: object) -> None:
    """Stands in for requests' search for the target of a redirect, which fails on an invalid one even when unused."""

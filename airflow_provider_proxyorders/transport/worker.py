"""The HTTP client of workers, on requests.

Two rules: a spending request is sent at most once; and an error says whether the request can have reached the vendor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import NeverSent, OutcomeUnknown
from airflow_provider_proxyorders.wire.messages import Flow, Request, Response

if TYPE_CHECKING:
    import requests
from airflow_provider_proxyorders.transport.endpoint import LARGEST_BODY, Endpoint, Unreached
from airflow_provider_proxyorders.transport.flow import Permit, T, run

#: A kept connection that was idle for longer may have been closed by the vendor; a purchase gets a new one.
STALE_AFTER = 3.0


class Http(Endpoint):
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
        from airflow_provider_proxyorders.transport.whole_answer import POOLS

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

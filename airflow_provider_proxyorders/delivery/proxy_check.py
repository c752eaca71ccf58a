"""Checks whether delivered proxies answer: fetches one page through each of them.

Two rules: at most ``at_once`` fetches run at a time, and each ends at its time limit; and the result holds numbers only, so it
names no proxy.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from airflow_provider_proxyorders.domain.delivered import Proxy
from airflow_provider_proxyorders.transport.probe import aprobe


@dataclass(frozen=True)
class Health:
    """Numbers of one check.

    :param checked: proxies with a fetch.
    :param healthy: proxies that delivered the page, with a status below 400.
    :param login_refused: proxies that refused the login.
    :param failed: proxies that delivered another status: the proxy or the page refused.
    :param silent: proxies without an answer in time.
    :param unchecked: proxies of another kind than HTTP and SOCKS5.
    :param median_ms: median time of the healthy proxies; ``None`` if there are none.
    """

    checked: int
    healthy: int
    login_refused: int
    failed: int
    silent: int
    unchecked: int
    median_ms: int | None

    def as_dict(self) -> dict[str, int | None]:
        return asdict(self)

    def __str__(self) -> str:
        counts = {"refuse the login": self.login_refused, "bring an error": self.failed, "are silent": self.silent}
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        if self.unchecked:
            parts.append(f"{self.unchecked} of another kind not checked")
        return ", ".join([f"{self.healthy} of {self.checked} answer", *parts])


def check(proxies: Sequence[Proxy], url: str, *, timeout: float = 10.0, at_once: int = 200) -> Health:
    """Fetch a page through every proxy.

    A fetch costs a socket and little CPU. The check takes at most about ``len(proxies) / at_once * timeout`` seconds, and a third
    of that where the silent proxies take no connection.

    :param url: a page of your own, or one that allows such checks; ``http`` or ``https``.
    :param timeout: seconds for one whole fetch. A proxy that takes no connection in three tenths of it is silent.
    """
    checkable = [proxy for proxy in proxies if proxy.scheme in ("http", "socks5")]
    fetches = asyncio.run(aprobe(url, [proxy.url for proxy in checkable], timeout=timeout, at_once=at_once))
    healthy = [seconds for status, seconds in fetches if status is not None and status < 400]
    return Health(
        checked=len(checkable),
        healthy=len(healthy),
        login_refused=sum(status == 407 for status, _ in fetches),
        failed=sum(status is not None and status >= 400 and status != 407 for status, _ in fetches),
        silent=sum(status is None for status, _ in fetches),
        unchecked=len(proxies) - len(checkable),
        median_ms=round(statistics.median(healthy) * 1000) if healthy else None,
    )


__all__ = ["Health", "check"]

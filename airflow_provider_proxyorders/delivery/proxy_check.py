"""Whether delivered proxies answer: fetch one page through each of them, and keep numbers only.

Two rules: no more than so many fetches at a time, each ended after its time limit whatever the other side does; and what is
handed on says how many, never which.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from airflow_provider_proxyorders.domain.model import Proxy
from airflow_provider_proxyorders.transport.probe import aprobe


@dataclass(frozen=True)
class Health:
    """Numbers of one check.

    :param checked: proxies that a page was asked for through.
    :param healthy: those that brought it, with a status below 400.
    :param login_refused: those that answered 407.
    :param failed: those that brought another status: the proxy or the page says no.
    :param silent: those without an answer in time.
    :param unchecked: SOCKS proxies, which this check cannot speak to.
    :param median_ms: time of the healthy ones, None where there are none.
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
        bad = {"refuse the login": self.login_refused, "bring an error": self.failed, "are silent": self.silent}
        said = [f"{count} {what}" for what, count in bad.items() if count]
        if self.unchecked:
            said.append(f"{self.unchecked} SOCKS not checked")
        return f"{self.healthy} of {self.checked} answer{''.join(f', {part}' for part in said)}"


def check(proxies: Sequence[Proxy], url: str, *, timeout: float = 10.0, at_once: int = 20) -> Health:
    """Fetch a page through every proxy.

    It takes at most about ``len(proxies) / at_once * timeout`` seconds.

    :param url: a page of your own, or one that does not mind; ``http`` or ``https``.
    :param timeout: seconds for one fetch in all.
    """
    asked = [proxy for proxy in proxies if proxy.scheme == "http"]
    seen = asyncio.run(aprobe(url, [proxy.url for proxy in asked], timeout=timeout, at_once=at_once))
    healthy = [seconds for status, seconds in seen if status is not None and status < 400]
    return Health(
        checked=len(asked),
        healthy=len(healthy),
        login_refused=sum(status == 407 for status, _ in seen),
        failed=sum(status is not None and status >= 400 and status != 407 for status, _ in seen),
        silent=sum(status is None for status, _ in seen),
        unchecked=len(proxies) - len(asked),
        median_ms=round(statistics.median(healthy) * 1000) if healthy else None,
    )


__all__ = ["Health", "check"]

"""What an order delivers: proxies and codes.

One rule: a delivery is secret, so its ``repr`` shows counts only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote as url_quote


@dataclass(frozen=True)
class Proxy:
    """One delivered proxy. Secret: ``repr`` hides the login.

    :param scheme: ``http`` or ``socks5``.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = None
    scheme: str = "http"
    location: str | None = None
    expires_at: datetime | None = None

    @property
    def url(self) -> str:
        """``scheme://user:password@host:port`` with the login percent-encoded."""
        login = ""
        if self.username is not None:
            login = f"{url_quote(self.username, safe='')}:{url_quote(self.password or '', safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{login}{host}:{self.port}"

    @property
    def requests(self) -> dict[str, str]:
        """The argument ``proxies=`` of ``requests``."""
        return {"http": self.url, "https": self.url}

    def __repr__(self) -> str:
        login = "***:***@" if self.username is not None else ""
        return f"Proxy({self.scheme}://{login}{self.host}:{self.port})"

    __str__ = __repr__


@dataclass(frozen=True)
class Delivery:
    """The proxies and codes of one order. Secret: ``repr`` shows counts only.

    :param proxies: proxies ready for use.
    :param codes: delivered keys, for vendors with such products.
    :param skipped: unreadable entries of the vendor's list.
    """

    order_id: str
    proxies: tuple[Proxy, ...] = ()
    codes: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def count(self) -> int:
        return len(self.proxies) + len(self.codes)

    def secrets(self) -> Iterator[str]:
        """Every value to keep out of logs."""
        for proxy in self.proxies:
            if proxy.password:
                yield proxy.password
        yield from self.codes

    def __repr__(self) -> str:
        return (
            f"Delivery(order_id={self.order_id!r}, proxies={len(self.proxies)}, codes={len(self.codes)}, skipped={self.skipped})"
        )

    __str__ = __repr__

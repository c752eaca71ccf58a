"""The operator that writes proxies or codes to a file, and the reader for the next task.

Three rules. The proxies go into the file and nowhere else. A file is replaced whole or left as it was. With fewer entries than
``at_least`` the file stays as it was.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from airflow.sdk import Asset, BaseOperator, ObjectStoragePath, RetryPolicy
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter, OrderPending, Retry, VendorError
from airflow_provider_proxyorders.domain.inputs import (
    conn_id_of,
    count_of,
    is_template,
    one_of,
    order_id_of,
    required_text,
    seconds_of,
    text_of,
)
from airflow_provider_proxyorders.domain.names import AnyOrder
from airflow_provider_proxyorders.domain.text import one_line, utc
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY
from airflow_provider_proxyorders.tasks.telling import explaining

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.delivery.proxy_check import Health
    from airflow_provider_proxyorders.domain.delivered import Delivery
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

#: What helps if a file cannot be written, by the system's error.
ADVICE = {
    errno.ENOSPC: "Make room.",
    errno.EDQUOT: "Make room.",
    errno.EBUSY: "A file that is mounted alone, as into a container, cannot be replaced: mount its folder.",
}
NO_FILE = (
    "Nothing was sent. DeliverProxiesOperator writes the file, on its own host. Correct the path, or deliver to a store that all "
    "workers reach."
)
STORE_ADVICE = "Install the store's library on the workers, such as s3fs for s3://, or correct path."
#: No such kind of store here, its library is missing, or the connection in the path is.
NO_STORE = (ImportError, ValueError, AirflowNotFoundException)
Format = Literal["url", "host:port:user:pass", "jsonl", "csv", "list", "requests"]


class UnreadableDelivery(ConfigError, AirflowFailException):
    """A file of a delivery that no retry can read. Airflow fails any task with it at once, also one without our retry policy."""


class DeliverProxiesOperator(_compat.KeepsDefaults, BaseOperator):
    """Writes the proxies or codes of an order to a file for the next tasks, and returns numbers only.

    A file on this machine is replaced in one step and readable by its owner only (mode 0600). An object in a store is written by
    one upload, under the bucket's access rules. A retry writes the same file again.

    Returns a JSON object: ``order_id``, ``path``, ``format``, ``count``, ``skipped`` (unreadable entries of the vendor's list),
    ``sha256`` of the file, ``expires_at`` of the first proxy to expire or null, and ``health`` (numbers, or null without a
    check). Every asset in ``outlets`` gets the same object as the extra of its event, so other DAGs can be scheduled on it.

    :param conn_id: the Airflow connection of the order's account (templated).
    :param order_id: the vendor's id of the order, or the whole result of the task that bought it, as in ``order.output``
        (templated). With the latter this task runs after that one.
    :param path: a path on this machine, or anything ``airflow.sdk.ObjectStoragePath`` takes, such as
        ``s3://aws_default@bucket/fresh.txt`` (templated). If tasks run on several hosts, choose a store in reach of all of them.
        ``~`` is the home of the worker's user, and a relative path begins in the worker's folder; the result has the whole path.
        The file behind a link is replaced. Variables of the shell such as ``$HOME`` are refused.
    :param format: ``url`` or ``host:port:user:pass`` (one a line), ``jsonl``, ``csv``, ``list`` (a JSON list of URLs) or
        ``requests`` (a JSON list of mappings); see ``delivery/formats.py``.
    :param at_least: the least entries to write; with ``check_url`` healthy ones count. With fewer the task fails and is retried
        later, and the file stays as it was.
    :param check_url: fetch this page through every HTTP and SOCKS5 proxy first, an ``http`` or ``https`` address (templated); by
        default there is no check.
    :param check_timeout: time limit of one such fetch: seconds, timedelta or text such as ``PT10S``. A proxy that takes no
        connection in three tenths of it is silent.
    :param check_at_once: fetches at a time.
    """

    template_fields: Sequence[str] = ("conn_id", "order_id", "path", "check_url")
    ui_color = "#d9e4f2"

    def __init__(
        self,
        *,
        conn_id: str,
        order_id: AnyOrder,
        path: str,
        format: Format = "url",
        at_least: int = 1,
        check_url: str | None = None,
        check_timeout: timedelta | float | str = 10.0,
        check_at_once: int = 200,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        self.conn_id = conn_id
        self.order_id = order_id
        self.path = path
        self.format = one_of("format", format, get_args(Format))
        self.at_least = count_of("at_least", at_least, 1)
        self.check_url = check_url
        if not is_template(check_url):
            page_of(check_url)  # a mistake shows when the DAG file is read
        self.check_timeout = seconds_of("check_timeout", check_timeout, 10.0)
        self.check_at_once = count_of("check_at_once", check_at_once, 200)

    @explaining
    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.delivery.file import whole_path
        from airflow_provider_proxyorders.delivery.formats import dump, first_expiry
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        hook, order_id = ProxyOrdersHook(conn_id_of(self.conn_id)), order_id_of(self.order_id)
        path = whole_path(required_text("path", self.path, "/tmp/fresh.txt"))
        page = page_of(self.check_url)
        delivery = self._read(hook, order_id, context)
        content = dump(delivery, self.format).encode()
        health = self._check(delivery, page)
        self._require_enough(delivery, health)
        store(path, content)
        expires_at = first_expiry(delivery)
        result: dict[str, Any] = {
            "order_id": delivery.order_id,
            "path": path,
            "format": self.format,
            "count": delivery.count,
            "skipped": delivery.skipped,
            "sha256": sha256(content).hexdigest(),
            "expires_at": expires_at.isoformat() if expires_at else None,
            "health": health.as_dict() if health else None,
        }
        until = f", until {utc(expires_at)}" if expires_at else ""
        self.log.info("Order %s: %d entries written to %s as %s%s", order_id, delivery.count, path, self.format, until)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(result)
        return result

    def _read(self, hook: ProxyOrdersHook, order_id: str, context: Context) -> Delivery:
        """The delivery. While the vendor does not show the order, it is asked again for the settle time.

        :raises OrderMissing: an order of the ledger is not shown any more. The money was spent.
        """
        from airflow_provider_proxyorders.purchase.polling import PollIntervals, ask_until_shown

        intervals = PollIntervals(hook.capabilities.polling, None, hook.vendor.settle_time)
        try:
            return ask_until_shown(lambda: hook.get_delivery(order_id), intervals, say=self.log.info)
        except VendorError as error:
            if not intervals.misses.count:
                raise
            raise hook.buyer(context, self.log.info).missing(order_id, error, intervals.misses) from None

    def _check(self, delivery: Delivery, url: str | None) -> Health | None:
        if url is None or not delivery.proxies:
            return None
        from airflow_provider_proxyorders.delivery.proxy_check import check

        health = check(delivery.proxies, url, timeout=self.check_timeout, at_once=self.check_at_once)
        self.log.info("Order %s: %s", delivery.order_id, health)
        return health

    def _require_enough(self, delivery: Delivery, health: Health | None) -> None:
        """:raises OrderPending: there are too few entries; the next try looks again."""
        count = delivery.count if health is None else health.healthy
        if count >= self.at_least:
            return
        what = f"yielded {delivery.count} entries" if health is None else f"has too few healthy proxies: {health}"
        if delivery.skipped:
            what += f", and {delivery.skipped} unreadable ones"
        raise OrderPending(
            f"order {delivery.order_id} {what}; at_least={self.at_least} asks for more. {self.path} was not written. "
            "The order is paid; another try reads it again and buys nothing."
        )


def page_of(check_url: object) -> str | None:
    """The address of the check; None where it is not given.

    :raises InvalidParameter: it is no web address.
    """
    url = text_of("check_url", check_url)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # invalid brackets or port
        complete = False
    if not complete or not url.isprintable() or " " in url:
        raise InvalidParameter("check_url", "must be the address of a web page", "https://www.example.com/", got=url)
    return url


def read_delivery(path: str, format: str = "url") -> Delivery:
    """Read the file of :class:`DeliverProxiesOperator` in another task, and register its secrets with that task's masker.

    :param path: ``path`` of the operator's result or of the asset event.
    :param format: ``format`` of the same: ``url`` or ``jsonl``; only ``jsonl`` keeps location and expiry.
    :raises InvalidParameter: ``path`` or ``format`` is unreadable.
    :raises UnreadableDelivery: the file holds something else, or its store's library is missing here. It is a ``ConfigError``, it
        ends the task without a retry, and its message hides the content.
    :raises OSError: it cannot be read.
    """
    from airflow_provider_proxyorders.delivery.file import whole_path
    from airflow_provider_proxyorders.delivery.formats import load
    from airflow_provider_proxyorders.hooks.masking import mask

    format = one_of("format", format, get_args(Format))
    path = whole_path(required_text("path", path, "/tmp/fresh.txt"))
    try:
        content = ObjectStoragePath(path).read_bytes()
    except NO_STORE as error:
        text = f"the delivery cannot be read from {path}: {one_line(error).rstrip('.')}. Nothing was sent. {STORE_ADVICE}"
        raise UnreadableDelivery(text) from None
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, f"{error.strerror}. {NO_FILE}", path) from None
    try:
        delivery = load(content.decode(), format)
    except UnicodeDecodeError:
        text = f"the file breaks the format {format!r}: it holds other bytes than UTF-8. Nothing was sent."
        raise UnreadableDelivery(text) from None
    except ConfigError as error:
        raise UnreadableDelivery(str(error)) from None
    mask(delivery)
    return delivery


def store(path: str, content: bytes) -> None:
    """Put a secret file in place in one step; a file on this machine is readable by its owner only.

    :raises ConfigError: it cannot be written; an old file stays as it was.
    """
    from airflow_provider_proxyorders.delivery.file import LOCAL, write_atomically

    try:
        target = ObjectStoragePath(path)
        if target.protocol in LOCAL:
            write_atomically(target.path, content)
        else:
            target.write_bytes(content)  # one upload: stores show an object when it is complete
    except NO_STORE as error:
        raise _unwritable(path, error, STORE_ADVICE) from None
    except OSError as error:
        passing = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, None)
        advice = ADVICE.get(error.errno or 0, "Correct path, or the rights of its folder.")
        raise _unwritable(path, error, advice, retry="later" if passing else "never") from None


def _unwritable(path: str, error: Exception, advice: str, retry: Retry = "never") -> ConfigError:
    why = (error.strerror if isinstance(error, OSError) else None) or one_line(error).rstrip(".")
    return ConfigError(
        f"the delivery cannot be written to {path}: {why}. The order is paid and stays as it is. Another try reads it again, and "
        f"nothing was bought. {advice}",
        retry=retry,
    )


__all__ = ["DeliverProxiesOperator", "read_delivery"]

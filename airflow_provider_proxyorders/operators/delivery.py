"""The operator that hands on what was bought, and the reader for the task after it.

Three rules: what was bought goes into the file and nowhere else; a file is replaced whole or left as it was; and nothing is
written where there is less than was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow.sdk import Asset, BaseOperator, ObjectStoragePath, RetryPolicy

from airflow_provider_proxyorders.domain.errors import OrderPending
from airflow_provider_proxyorders.domain.text import utc
from airflow_provider_proxyorders.tasks.order_operator import RETRIES, RETRY_DELAY, RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_proxyorders.delivery.proxy_check import Health
    from airflow_provider_proxyorders.domain.model import Delivery

Format = Literal["url", "host:port:user:pass", "jsonl", "csv", "list", "requests"]


class DeliverProxiesOperator(BaseOperator):
    """Writes the proxies or codes of an order to a file that the next tasks read, and hands on numbers only.

    A file on this machine is replaced in one step and readable by its owner only (mode 0600); an object in a store is written by
    one upload, under whatever access rules the bucket has. A retry writes the same file again.

    Returns a JSON object: ``order_id``, ``path``, ``format``, ``count``, ``skipped`` (entries of the vendor's list that could
    not be read), ``sha256`` of the file, ``expires_at`` of the first proxy to expire or null, and ``health`` (numbers, or null
    where nothing was checked). The same object is the extra of the event of every asset in ``outlets``, so that other DAGs can be
    scheduled on it.

    :param conn_id: the Airflow connection the order was bought with (templated).
    :param order_id: the vendor's id of the order (templated).
    :param path: a path on this machine, or anything ``airflow.sdk.ObjectStoragePath`` takes, such as
        ``s3://aws_default@bucket/fresh.txt`` (templated). Where tasks run on several hosts, choose a store that all of them
        reach.
    :param format: ``url`` or ``host:port:user:pass`` (one a line), ``jsonl``, ``csv``, ``list`` (a JSON list of URLs) or
        ``requests`` (a JSON list of mappings); see ``delivery/formats.py``.
    :param at_least: so many entries must be there, healthy ones where ``check_url`` is given; with fewer the task fails, is
        tried again later, and the file stays as it was.
    :param check_url: fetch this page through every proxy first (templated); by default nothing is checked.
    :param check_timeout: seconds for one such fetch.
    :param check_at_once: how many of them at a time.
    """

    template_fields: Sequence[str] = ("conn_id", "order_id", "path", "check_url")
    ui_color = "#d9e4f2"

    def __init__(
        self,
        *,
        conn_id: str,
        order_id: str,
        path: str,
        format: Format = "url",
        at_least: int = 1,
        check_url: str | None = None,
        check_timeout: float = 10.0,
        check_at_once: int = 20,
        retries: int | None = RETRIES,
        retry_delay: timedelta | float = RETRY_DELAY,
        retry_policy: RetryPolicy | None = RETRY_POLICY,
        **kwargs: Any,
    ):
        super().__init__(retries=retries, retry_delay=retry_delay, retry_policy=retry_policy, **kwargs)
        if format not in get_args(Format):
            raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {format!r}")
        for name, value in (("at_least", at_least), ("check_timeout", check_timeout), ("check_at_once", check_at_once)):
            if not value > 0:
                raise ValueError(f"{name} must be above zero, got {value!r}")
        self.conn_id = conn_id
        self.order_id = order_id
        self.path = path
        self.format = format
        self.at_least = at_least
        self.check_url = check_url
        self.check_timeout = check_timeout
        self.check_at_once = check_at_once

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_proxyorders.delivery.formats import dump, first_expiry
        from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

        delivery = ProxyOrdersHook(self.conn_id).get_delivery(str(self.order_id))
        content = dump(delivery, self.format).encode()
        health = self._check(delivery)
        self._require_enough(delivery, health)
        store(str(self.path), content)
        expires_at = first_expiry(delivery)
        result: dict[str, Any] = {
            "order_id": delivery.order_id,
            "path": str(self.path),
            "format": self.format,
            "count": delivery.count,
            "skipped": delivery.skipped,
            "sha256": sha256(content).hexdigest(),
            "expires_at": expires_at.isoformat() if expires_at else None,
            "health": health.as_dict() if health else None,
        }
        until = f", until {utc(expires_at)}" if expires_at else ""
        self.log.info("Order %s: %d entries written to %s as %s%s", self.order_id, delivery.count, self.path, self.format, until)
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(result)
        return result

    def _check(self, delivery: Delivery) -> Health | None:
        if not self.check_url or not delivery.proxies:
            return None
        from airflow_provider_proxyorders.delivery.proxy_check import check

        health = check(delivery.proxies, self.check_url, timeout=self.check_timeout, at_once=self.check_at_once)
        self.log.info("Order %s: %s", self.order_id, health)
        return health

    def _require_enough(self, delivery: Delivery, health: Health | None) -> None:
        """:raises OrderPending: when there is too little to hand on; the next try looks again."""
        there = delivery.count if health is None else health.healthy
        if there >= self.at_least:
            return
        what = f"yielded {delivery.count} entries" if health is None else f"has too few healthy proxies: {health}"
        if delivery.skipped:
            what += f", and {delivery.skipped} that could not be read"
        raise OrderPending(
            f"order {self.order_id} {what}; at_least={self.at_least} is asked for. {self.path} was not written. "
            "The order is paid; another try reads it again and buys nothing."
        )


def read_delivery(path: str, format: str = "url") -> Delivery:
    """In another task: what :class:`DeliverProxiesOperator` wrote, registered with that task's masker as well.

    :param path: ``path`` of the operator's result or of the asset event.
    :param format: ``format`` of the same; ``url`` and ``jsonl`` can be read back, and only ``jsonl`` keeps location and expiry.
    :raises ConfigError: when the file holds something else, which is not shown.
    :raises OSError: when it cannot be read.
    """
    from airflow_provider_proxyorders.delivery.formats import load
    from airflow_provider_proxyorders.hooks.masking import mask

    delivery = load(ObjectStoragePath(path).read_bytes().decode(), format)
    mask(delivery)
    return delivery


def store(path: str, content: bytes) -> None:
    """Put a secret file in place in one step; a file on this machine is readable by its owner only.

    :raises OSError: it cannot be written; an old file stays as it was.
    """
    from airflow_provider_proxyorders.delivery.file import write_atomically

    target = ObjectStoragePath(path)
    if target.protocol in ("", "file", "local"):
        write_atomically(target.path, content)
    else:
        target.write_bytes(content)  # one upload: stores show an object when it is complete


__all__ = ["DeliverProxiesOperator", "read_delivery"]

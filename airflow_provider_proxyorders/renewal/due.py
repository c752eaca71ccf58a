"""The one rule "is a renewal still due". The hook, the operators, the replacement and the search all ask it.

The rule is pure: it takes the vendor's answer about an order and the time, and returns the first obstacle, or ``None`` if the
renewal is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter, NotDue, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import OrderStatus, VendorOrder
from airflow_provider_proxyorders.domain.text import utc

ObstacleReason = Literal[
    "ended",  # the vendor refunded it, or it failed
    "expired",  # its term is over, by the vendor's status
    "lapsed",  # its date has passed, and by the vendor's status it runs
    "no_expiry",  # its end is unknown, and the rule needs it
    "reached",  # it is paid through the target date
    "extended",  # it ends after the expiry to extend: another purchase or the vendor was first
    "mismatch",  # it ends before the expiry to extend
    "later",  # it ends too far in the future
]


@dataclass(frozen=True)
class Obstacle:
    """Why a renewal is not due.

    :param why: a clause that continues "order 7001 ...".
    """

    reason: ObstacleReason
    why: str

    def error(self, order_id: str) -> ProxyOrdersError:
        """The error for a task that was asked to renew this order: NotDue if the task can be skipped."""
        if self.reason in ("reached", "extended", "later"):
            return NotDue(f"order {order_id} {self.why}. Nothing was bought.")
        if self.reason == "no_expiry":
            return ConfigError(f"order {order_id} {self.why}, so its paid term is unknown. Nothing was sent.")
        if self.reason == "mismatch":
            return InvalidParameter("expires_at", f"must be the end of order {order_id}; it {self.why}")
        hint = ". If it still runs, correct the connection's time zone for this vendor" if self.reason == "lapsed" else ""
        return InvalidParameter("order_id", f"must name a running order; {order_id} {self.why}{hint}")


@dataclass(frozen=True)
class DueRule:
    """When a renewal of an order is due.

    :param title: the vendor's name, for messages.
    :param paid_through: target date; an order that reaches it is paid far enough.
    :param expiry: the expiry to extend; an order with a later end was extended meanwhile.
    :param due_until: an order is due only if it ends by then.
    :param lapsed_too: whether an order past its date counts. A new order can take its place; an extension comes too late.
    """

    title: str
    paid_through: datetime | None = None
    expiry: datetime | None = None
    due_until: datetime | None = None
    lapsed_too: bool = False

    def obstacle(self, order: VendorOrder, ends: datetime | None, now: datetime) -> Obstacle | None:
        """The first reason against renewing an order now.

        :param order: as the vendor just reported it.
        :param ends: its end, from the vendor or else from the user.
        """
        return self._over(order, ends, now) or self._undated(order, ends) or self.already_paid(ends) or self._elsewhen(ends)

    def already_paid(self, ends: datetime | None) -> Obstacle | None:
        """The part of the rule that may change until the purchase leaves: another purchase, or the vendor, was first."""
        if ends is None:
            return None
        if self.paid_through is not None and reaches(ends, self.paid_through):
            return Obstacle("reached", f"is paid through {utc(ends)}, which reaches paid_through={utc(self.paid_through)}")
        if self.expiry is not None and ends > self.expiry:
            return Obstacle(
                "extended",
                f"runs until {utc(ends)} and was to be extended from {utc(self.expiry)}: another purchase or the vendor "
                "itself has extended it already",
            )
        return None

    def require_due(self, order: VendorOrder, ends: datetime | None, now: datetime) -> None:
        """Refuse a renewal if the rule has an obstacle.

        :raises NotDue: the order is paid far enough, or ends too late. Nothing was bought.
        :raises InvalidParameter, ConfigError: the order cannot be renewed. Nothing was bought.
        """
        obstacle = self.obstacle(order, ends, now)
        if obstacle is not None:
            raise obstacle.error(order.order_id)

    def require_unpaid(self, order_id: str, ends: datetime | None) -> None:
        """Refuse a renewal that was overtaken.

        :raises NotDue: another purchase, or the vendor, was first. Nothing was bought.
        """
        obstacle = self.already_paid(ends)
        if obstacle is not None:
            raise obstacle.error(order_id)

    def last_check(self, order_id: str) -> Callable[[Mapping[str, Any]], None]:
        """``still_due`` of :meth:`Buyer.extend`: the same question for the last read before the extension leaves."""

        def check(evidence: Mapping[str, Any]) -> None:
            self.require_unpaid(order_id, expiry_in(evidence))

        return check

    def _over(self, order: VendorOrder, ends: datetime | None, now: datetime) -> Obstacle | None:
        status = f"{order.vendor_status!r} at {self.title}"
        if order.status in (OrderStatus.REFUNDED, OrderStatus.FAILED):
            return Obstacle("ended", f"is {status}")
        if order.status is OrderStatus.EXPIRED:
            return Obstacle("expired", f"is {status}; its term is over")
        if ends is not None and ends <= now and not self.lapsed_too:
            return Obstacle("lapsed", f"ended {utc(ends)}, though {self.title} says {order.vendor_status!r}")
        return None

    def _undated(self, order: VendorOrder, ends: datetime | None) -> Obstacle | None:
        if ends is not None or (self.paid_through is None and self.expiry is None and self.due_until is None):
            return None
        return Obstacle("no_expiry", f"is {order.vendor_status!r} and has no expiry at {self.title}")

    def _elsewhen(self, ends: datetime | None) -> Obstacle | None:
        if ends is not None and self.expiry is not None and ends < self.expiry:
            return Obstacle("mismatch", f"ends {ends.isoformat()} at {self.title}")
        if ends is not None and self.due_until is not None and ends > self.due_until:
            return Obstacle("later", f"runs until {utc(ends)}, beyond {utc(self.due_until)}")
        return None


def reaches(ends: datetime, paid_through: datetime) -> bool:
    """Whether an order is paid far enough: it ends at the target date or later."""
    return ends >= paid_through


def is_over(ends: datetime, moment: datetime) -> bool:
    """Whether an order has ended by a moment."""
    return ends <= moment


def expiry_in(evidence: Mapping[str, Any]) -> datetime | None:
    """The end of an order in a purchase's evidence or result."""
    text = evidence.get("expires_at")
    return datetime.fromisoformat(text) if text else None

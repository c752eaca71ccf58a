"""One attempt to buy: the request of a task, and the deeds of one call so far.

Rule: the state of a purchase lives in the ledger, and for the length of one call in its :class:`Attempt`. A buyer keeps none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import (
    AuthenticationFailed,
    ConfigError,
    NeverSent,
    OrderingNotPermitted,
    OrderNotFound,
    RequestRefused,
)
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.ledger.evidence import Floor
from airflow_provider_proxyorders.vendors.base import Operation, Prepared

#: Each of these errors after sending proves: nothing was bought. Every other error leaves the outcome unknown.
PROOFS = (AuthenticationFailed, OrderingNotPermitted, OrderNotFound, RequestRefused, NeverSent, ConfigError)


@dataclass(frozen=True)
class PurchaseRequest:
    """A task asks to buy this.

    :param prepared: the checked body.
    :param fingerprint: SHA-256 of the request; the same key with another one is a conflict.
    :param target: the order to extend; ``None``: a new order.
    :param max_price: the operator's cap for this one purchase.
    :param still_due: called with the evidence read right before the purchase leaves; raises to stop it.
    :param task_key: the key as the task gave it, ``None`` for the order key; see ``ledger.keys``.
    """

    order_key: str
    kind: Operation
    prepared: Prepared
    fingerprint: str
    target: str | None = None
    max_price: Decimal | None = None
    still_due: Callable[[Mapping[str, Any]], None] | None = None
    task_key: str | None = None


@dataclass(frozen=True)
class Before:
    """The reading at the vendor before a purchase, at its turn or in the line.

    :param evidence: to recognise the purchase by.
    :param floor: the least rest in the wallet, if the connection sets it.
    :param after: number of the newest step before the read.
    :param read_from: the begin of the read, by the ledger's clock.
    :param read_until: the end of the read, by the monotonic clock and by the ledger's.
    :param shows_all_at: from then on a read shows everything sent before this one; ``None``: it shows all.
    """

    evidence: Mapping[str, Any]
    floor: Floor | None
    after: int
    read_from: datetime
    read_until: tuple[float, datetime]
    shows_all_at: datetime | None


@dataclass
class Attempt:
    """The state of one call of ``place`` or ``extend``, beside the ledger.

    :param sent: the purchase as this call sent it; ``None`` again after a proof that nothing was bought.
    :param resent: whether this call sent the same reference a second time.
    :param refused: fence of the refused purchase that this call sends again; see :class:`Intent`.
    :param login_renewed: whether this call used its one new login.
    :param unquoted: whether the vendor refused to quote a price. Then only the cap is known.
    :param before: the reading in the line, if there was one.
    """

    request: PurchaseRequest
    sent: Purchase | None = None
    resent: bool = False
    refused: int | None = None
    login_renewed: bool = False
    unquoted: bool = False
    before: Before | None = None


def fingerprint(kind: str, wallet: str, vendor: str, target: str | None, body: Mapping[str, Any]) -> str:
    """SHA-256 over kind, vendor, wallet, target and body. Two purchases under one key are the same if it is equal.

    It stays in the process: the body has secrets, and the ledger keeps the keyed hash of it.
    """
    canonical = {"kind": kind, "vendor": vendor, "wallet": wallet, "target": target, "body": body}
    return hashlib.sha256(dump_json(canonical).encode()).hexdigest()


def reference(wallet: str, order_key: str) -> str:
    """Our reference at the vendor. It derives from wallet and key only, so every try sends the same."""
    digest = hashlib.sha256(f"{wallet}\n{order_key}".encode()).hexdigest()
    return f"af-{digest[:40]}"


def is_derived(reference: str | None) -> bool:
    """Whether a reference has the form of :func:`reference`, so nobody else sends it."""
    return reference is not None and re.fullmatch("af-[0-9a-f]{40}", reference) is not None


def sending_time(account: Account) -> float:
    """How long one sending can take, in seconds, with a margin; after that other tries may look into it."""
    return 3 * account.timeout + 5


def may_be_running(purchase: Purchase, now: datetime) -> bool:
    """Whether the sender of a purchase may still be waiting for the answer."""
    return purchase.step is Step.SENT and purchase.sent_until is not None and purchase.sent_until > now


def left_by(purchase: Purchase) -> datetime:
    """The moment at which the sender of a refused purchase had its answer or gave up. The settle time begins then."""
    return min(purchase.sent_until or purchase.updated_at, purchase.updated_at)

"""One attempt to buy: what a task asks for, and what this call has done about it so far.

Rule: the state of a purchase lives in the ledger, and for the length of one call in its :class:`Attempt`. A buyer keeps none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.vendors.base import Operation, Prepared

#: Errors after sending that prove that nothing was bought. Every other error leaves the outcome unknown.
PROOFS = (AuthenticationFailed, OrderingNotPermitted, OrderNotFound, RequestRefused, NeverSent, ConfigError)


@dataclass(frozen=True)
class PurchaseRequest:
    """What a task asks to buy.

    :param prepared: the checked body.
    :param fingerprint: SHA-256 of the request; the same key with another one is a conflict.
    :param target: the order to extend, None for a new order.
    :param max_price: the operator's cap for this one purchase.
    :param still_due: called with the evidence read right before the purchase leaves; raises to stop it.
    """

    order_key: str
    kind: Operation
    prepared: Prepared
    fingerprint: str
    target: str | None = None
    max_price: Decimal | None = None
    still_due: Callable[[Mapping[str, Any]], None] | None = None


@dataclass
class Attempt:
    """What one call to place or extend knows beside the ledger.

    :param sent: the purchase as this call sent it; None again once it is proven that nothing was bought.
    :param resent: whether this call sent the same reference a second time.
    :param login_renewed: whether this call used its one new login.
    :param unquoted: whether the vendor refused to quote a price, so that only the cap is known.
    """

    request: PurchaseRequest
    sent: Purchase | None = None
    resent: bool = False
    login_renewed: bool = False
    unquoted: bool = False


def fingerprint(kind: str, account: Account, vendor: str, target: str | None, body: Mapping[str, Any]) -> str:
    """SHA-256 of everything that makes two purchases under one key the same purchase."""
    canonical = {"kind": kind, "vendor": vendor, "wallet": account.wallet, "target": target, "body": body}
    return hashlib.sha256(dump_json(canonical).encode()).hexdigest()


def reference(account: Account, order_key: str) -> str:
    """Our reference at vendors that take one: derived from wallet and key only, so every try sends the same."""
    digest = hashlib.sha256(f"{account.wallet}\n{order_key}".encode()).hexdigest()
    return f"af-{digest[:40]}"


def sending_time(account: Account) -> float:
    """How long one sending can take, in seconds, with a margin; after that other tries may look into it."""
    return 3 * account.timeout + 5

"""The one way to decide about a purchase or a frozen wallet, for the command line, the page and the question in Airflow.

Two rules. A check opens the connection of the purchase and only reads. Every decision carries a person, who stays in the history.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError
from airflow_provider_proxyorders.domain.model import Actor
from airflow_provider_proxyorders.domain.names import KEY_EXAMPLE, check_name

if TYPE_CHECKING:
    from airflow_provider_proxyorders.domain.model import Purchase
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.ledger import Ledger
    from airflow_provider_proxyorders.purchase.decision import Answer, Checked

#: The most characters of a person's name in the history.
LONGEST_NAME = 120


@dataclass(frozen=True)
class Frozen:
    """A wallet that was frozen until now, or still is.

    :param since: ``None`` for a freeze of an older ledger.
    """

    wallet: str
    why: str
    since: datetime | None


def person(name: str | None = None) -> Actor:
    """The author of a decision, for the history.

    :param name: the name of an Airflow user. ``None``: the user of this process, by its uid. No variable of the environment
        counts, and the uid may have no name, as in a pod with ``runAsUser``.
    """
    if name is not None:
        shown = f"{' '.join(name.split())[:LONGEST_NAME]} (Airflow user)"
    else:
        shown = _name_of(os.getuid())
    return Actor(host=f"{shown}@{socket.gethostname()}"[:250])


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def check(ledger: Ledger, order_key: str, answer: Answer, *, hook: ProxyOrdersHook | None = None) -> Checked:
    """Look at ledger, vendor and inbox before a decision. It decides nothing, and sends reads only.

    What the reads show of other purchases is recorded as always.

    :param hook: of the purchase's connection; ``None``: it is looked up.
    :returns: the outcome and what was seen, to be shown before a person confirms.
    :raises ConfigError: the key is unknown, or something speaks against the decision. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase import decision

    purchase = find(ledger, order_key)
    if answer.unchecked or answer.word not in ("adopt", "absent"):
        return decision.check(ledger, purchase, answer, None)
    decision.check_ledger(ledger, purchase, answer)  # what the ledger alone refuses needs no connection
    return _check_at_vendor(ledger, purchase, answer, hook)


def decide(
    ledger: Ledger,
    order_key: str,
    answer: Answer,
    author: Actor,
    *,
    hook: ProxyOrdersHook | None = None,
    checked: Checked | None = None,
) -> Purchase:
    """Check a decision and record it for good. Tasks that wait for it in *Required Actions* go on.

    :param author: see :func:`person`.
    :param checked: of a check that the person was just shown; ``None``: it is checked now.
    :raises ConfigError: see :func:`check`. Nothing was changed.
    :raises StaleClaim: a worker has taken the purchase further meanwhile. Nothing was changed.
    """
    from airflow_provider_proxyorders.hooks.waking import wake_tasks
    from airflow_provider_proxyorders.purchase import decision

    purchase = decision.record(ledger, checked or check(ledger, order_key, answer, hook=hook), author)
    wake_tasks(ledger, purchase, author)
    return purchase


def find(ledger: Ledger, order_key: str) -> Purchase:
    """The purchase with this very order key in the ledger.

    :raises ConfigError: the ledger has no such key.
    """
    purchase = ledger.find(check_name("order_key", order_key, KEY_EXAMPLE))
    if purchase is None:
        raise _missing(order_key)
    return purchase


def find_of_person(ledger: Ledger, order_key: str, wallet: str | None = None) -> Purchase:
    """The purchase that a person means by a key: by its own one in the ledger, or by that of its task.

    :param wallet: its wallet, or the id of a connection that pays from it; ``None``: the key is in one wallet only.
    :raises ConfigError: the ledger has no such key, or several wallets have it.
    """
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    purchases = ledger.under_key(check_name("order_key", order_key, KEY_EXAMPLE))
    if wallet is not None:
        name = Accounts(ledger.engine, ledger.clock).require(wallet)
        purchases = [purchase for purchase in purchases if purchase.wallet == name]
    if not purchases:
        raise _missing(order_key)
    if len(purchases) > 1:
        each = "; ".join(f"{purchase.order_key!r} of wallet {purchase.wallet!r}" for purchase in purchases)
        raise ConfigError(
            f"order key {order_key!r} stands for {len(purchases)} purchases: {each}. Name the wallet with --wallet, or the key "
            "with its ending. Nothing was changed."
        )
    return purchases[0]


def _missing(order_key: str) -> ConfigError:
    return ConfigError(f"order key {order_key!r} is missing in the ledger; see: proxyorders ledger list")


def check_unfreeze(ledger: Ledger, name: str, gone: Collection[str] = ()) -> Frozen:
    """Look at a frozen wallet before it is unfrozen.

    :param name: of the wallet, or the id of a connection that pays from it.
    :param gone: connections named as gone for good. A restored ledger is not reconciled through them.
    :raises ConfigError: no wallet has this name, it is not frozen, or a purchase of it comes first. Nothing was changed.
    """
    from airflow_provider_proxyorders.ledger.accounts import Accounts
    from airflow_provider_proxyorders.purchase import resolving

    wallet = Accounts(ledger.engine, ledger.clock).require(name)
    why = ledger.freeze_reason(wallet)
    if why is None:
        raise ConfigError(f"wallet {wallet!r} may buy: it is unfrozen already. Nothing was changed.")
    resolving.check_unfreezable(ledger, wallet, _require_gone(ledger, wallet, gone))
    since = [step.at for step in ledger.wallet_history(wallet) if step.what == "frozen"]
    return Frozen(wallet, why, since[-1] if since else None)


def unfreeze(
    ledger: Ledger, name: str, author: Actor, note: str = "", *, why: str | None = None, gone: Collection[str] = ()
) -> Frozen:
    """Allow purchases from a frozen wallet again. The wallet's history keeps who, when, why, and why it was frozen.

    :param note: the person's reason.
    :param why: the reason of the freeze that the person was shown; ``None``: the one of now.
    :raises ConfigError: see :func:`check_unfreeze`. Nothing was changed.
    :raises StaleClaim: the wallet is frozen for another reason by now. Nothing was changed.
    """
    from airflow_provider_proxyorders.purchase import resolving

    frozen = check_unfreeze(ledger, name, gone)
    shown = why if why is not None else frozen.why
    resolving.unfreeze(ledger, frozen.wallet, author, " ".join(note.split()), why=shown, gone=gone)
    return frozen


def _require_gone(ledger: Ledger, wallet: str, gone: Collection[str]) -> Collection[str]:
    """The connections named by a person as gone for good. A process may lack one of the workers' own, so nobody guesses it.

    :raises ConfigError: one of them is there, or does not pay from the wallet. Nothing was changed.
    """
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.ledger.accounts import Accounts

    paying = set(Accounts(ledger.engine, ledger.clock).of_wallet(wallet).values()) if gone else set()
    for conn_id in gone:
        if conn_id not in paying:
            raise ConfigError(f"no account of connection {conn_id!r} pays from wallet {wallet!r}. Nothing was changed.")
        try:
            ProxyOrdersHook.get_connection(conn_id)
        except AirflowNotFoundException:
            continue
        raise ConfigError(f"connection {conn_id!r} is there: reconcile the wallet through it. Nothing was changed.")
    return gone


def _check_at_vendor(ledger: Ledger, purchase: Purchase, answer: Answer, hook: ProxyOrdersHook | None) -> Checked:
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.hooks.wallets import look_up_wallet_in
    from airflow_provider_proxyorders.purchase import decision
    from airflow_provider_proxyorders.purchase.tracker import OrderTracker

    own = hook is None
    hook = hook or ProxyOrdersHook(purchase.conn_id)
    try:
        look_up_wallet_in(hook.vendor.account, ledger)
        tracker = OrderTracker(hook.vendor, hook.http, ledger, say=lambda line: None)
    except (ProxyOrdersError, AirflowNotFoundException) as error:
        raise decision.unread(purchase, answer, error) from None
    try:
        return decision.check(ledger, purchase, answer, tracker)
    finally:
        if own:
            hook.http.close()

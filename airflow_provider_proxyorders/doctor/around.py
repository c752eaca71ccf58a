"""What the doctor looks at around one account: its host, other connections with its key, its orders, and the triggerer.

One rule: a part that cannot be looked at from here is left out, and never called broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.doctor.checkup import Check
from airflow_provider_proxyorders.domain.account import Account, in_clear_text
from airflow_provider_proxyorders.domain.exact_json import load_json
from airflow_provider_proxyorders.hooks.wallets import describe_same_key, same_key_elsewhere
from airflow_provider_proxyorders.ledger import Ledger, facts
from airflow_provider_proxyorders.ledger.bulk import owned_among
from airflow_provider_proxyorders.ledger.elsewhere import bought_elsewhere

#: Orders of the vendor that are named one by one.
MOST_NAMED = 5


def check_connection(
    check: Check,
    account: Account,
    ledger: Ledger | None,
    key_of: Callable[[str], str | None],
    may_name: Callable[[str], bool],
) -> Check:
    """The check of the connection, with what its neighbours and its host add.

    :param key_of: the key of another connection, ``None`` where it cannot be read.
    :param may_name: whether the reader may see this connection.
    """
    if in_clear_text(account.base_url):
        text = f"{check.text}, in clear text: everybody on the way can read the key and buy with it"
        check = replace(check, state="note", text=text, advice="Write the host with https://, and take allow_http out.")
    other = same_key_elsewhere(account, ledger, key_of) if ledger else None
    if other is None:
        return check
    text, advice = describe_same_key(account, other, named=may_name(other.conn_id))
    return replace(check, state="note", text=f"{check.text}; {text}", advice=f"{check.advice} {advice}".strip())


def check_orders(
    check: Check, account: Account, ledger: Ledger | None, order_ids: list[str], may_name: Callable[[str], bool]
) -> Check:
    """The check of the vendor's list, with its orders that this ledger lacks.

    :param may_name: whether the reader may see this connection.
    """
    if ledger is None or not order_ids or check.state != "ok":
        return check
    at_start = facts.orders_at_start(ledger, account.wallet).get()
    own = owned_among(ledger, account.wallet, order_ids)
    unknown = [order_id for order_id in order_ids if order_id.lower() not in own]
    if at_start is None:
        is_used = bool(ledger.purchases(wallet=account.wallet, limit=1))
        many = f"; {len(unknown)} of them are not in this ledger" if unknown and is_used else ""
        return replace(check, text=f"{check.text}{many}")
    older = set(load_json(at_start))
    foreign = [order_id for order_id in unknown if order_id not in older]
    if not foreign:
        return check
    elsewhere = bought_elsewhere(ledger.engine, account.vendor, account.wallet, foreign)
    buyers = {
        order_id: repr(other.conn_id) if may_name(other.conn_id) else "another connection"
        for order_id, other in elsewhere.items()
    }
    named = [
        f"{order_id} (bought through {buyers[order_id]})" if order_id in buyers else order_id for order_id in foreign[:MOST_NAMED]
    ]
    more = f" and {len(foreign) - MOST_NAMED} more" if len(foreign) > MOST_NAMED else ""
    text = f"{check.text}; {len(foreign)} of them are not in this ledger: {', '.join(named)}{more}"
    advice = "Reconcile the wallet: ReconcileLedgerOperator, or proxyorders ledger reconcile. Another buyer may use the account."
    return replace(check, state="note", text=text, advice=advice)


def check_triggerer() -> Check | None:
    """Whether a triggerer runs: tasks that wait need one. ``None`` where Airflow's own database cannot be read."""
    seconds = _compat.seconds_since_triggerer()
    if seconds is None:
        return None
    if seconds < _compat.TRIGGERER_GONE:
        return Check("triggerer", "ok", f"a triggerer runs; it was heard {seconds:.0f} s ago")
    heard = "it is unheard of" if seconds == float("inf") else f"the last one was heard {seconds:.0f} s ago"
    return Check(
        "triggerer",
        "broken",
        f"the triggerer is gone ({heard}): tasks that wait for an order stay deferred, and the orders stay as they are",
        "Start one: airflow triggerer. Without one, give the operators deferrable=False.",
    )

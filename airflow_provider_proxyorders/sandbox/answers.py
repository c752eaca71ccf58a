"""What a fault makes of an answer, or of the way in which a vendor answers: the same for a server and for a simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from functools import reduce
from operator import getitem
from typing import Any

from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.till import Wallet
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Call, Manner, Refusal, SandboxVendor, dump

#: Ways to write a time, tried in this order.
_TIMES = ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")


def manner(rule: Rule, before: Manner) -> Manner | None:
    """How a vendor is to answer one request.

    :param before: what earlier rules ask for.
    :returns: None where the fault is another one.
    """
    if rule.action == "lag":
        return replace(before, lag=rule.seconds or 0.0)
    if rule.action == "unseen":
        return replace(before, unseen=True)
    return replace(before, price=rule.amount) if rule.action == "charge" else None


def changed(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer | None) -> Answer | None:
    """The answer with the fault in it. Its caller holds the lock of the sandbox's state.

    :param answer: None before the vendor worked on the request.
    :returns: None where the fault changes no answer.
    """
    if rule.action == "refuse":
        status, data = vendor.refusals[rule.reason]
        return Answer(data, rule.status or status, headers=rule.headers)
    change = CHANGES.get(rule.action)
    if change is None or answer is None:
        return None
    if rule.action in _OF_PURCHASES and (not 200 <= answer.status < 300 or vendor.says_no(answer.data)):
        return answer  # the vendor said no by itself
    return change(rule, vendor, ask, call, answer)


def _repeat(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    """The copy meets a wallet without money, so a vendor that does not know the reference again refuses it as well."""
    wallet = vendor.asker(ask)
    balance, wallet.balance = wallet.balance, Decimal(0)
    try:
        copy = call.run()
    except Refusal as refusal:
        copy = refusal.answer
    wallet.balance += balance
    return replace(copy, status=rule.status or copy.status)


def _another_order(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    other = _other(rule, vendor, vendor.asker(ask), answer)
    try:
        return replace(answer, data=vendor.created(other))
    except KeyError:  # there is no such order, so nothing else can be said of it
        return _naming(vendor, answer, other)


def _another_id(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    return _naming(vendor, answer, _other(rule, vendor, vendor.asker(ask), answer))


def _naming(vendor: SandboxVendor, answer: Answer, other: str) -> Answer:
    named = _like(answer.data[vendor.id_field], vendor.as_named(other))
    return replace(answer, data={**answer.data, vendor.id_field: named})


def _doubled_id(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    other = _other(rule, vendor, vendor.asker(ask), answer)
    last = dump({vendor.id_field: _like(answer.data[vendor.id_field], vendor.as_named(other))})
    return replace(answer, text=f"{dump(answer.data)[:-1]},{last[1:]}", media=answer.content_type)


def _other(rule: Rule, vendor: SandboxVendor, wallet: Wallet, answer: Answer) -> str:
    """The id of the order that the answer is to name."""
    if rule.order == "missing":
        return vendor.unused_id()
    own = vendor.order_in(answer.data)
    before = [
        entry.order_id for entry in vendor.book.orders(vendor.name) if entry.wallet == wallet.name and entry.order_id != own
    ]
    if rule.order == "previous" and before:
        return before[-1]
    return vendor.seed_order(wallet, {}) if rule.order in ("previous", "foreign") else rule.order


def _like(own: Any, other: str) -> Any:
    return int(other) if isinstance(own, int) and other.isdigit() else other


def _float(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    if call.operation != "balance":
        return answer
    *path, last = ("", *vendor.balance_at)
    data = {"": answer.data}
    place: Any = reduce(getitem, path, data)
    place[last] = math.nextafter(float(place[last]), math.inf)
    return replace(answer, data=data[""])


def _clock(rule: Rule, vendor: SandboxVendor, ask: Ask, call: Call, answer: Answer) -> Answer:
    ahead = timedelta(seconds=rule.seconds or 0.0)
    date = format_datetime(vendor.clock.now() + ahead, usegmt=True)
    data = _moved(answer.data, vendor.own_times, ahead) if answer.text is None else answer.data
    return replace(answer, data=data, headers={**answer.headers, "Date": date})


def _moved(data: Any, names: frozenset[str], ahead: timedelta) -> Any:
    if isinstance(data, Mapping):
        return {k: _later(v, ahead) if k in names else _moved(v, names, ahead) for k, v in data.items()}
    return [_moved(item, names, ahead) for item in data] if isinstance(data, list) else data


def _later(time: Any, ahead: timedelta) -> Any:
    if isinstance(time, int) and not isinstance(time, bool):
        return int(time + ahead.total_seconds())
    for form in _TIMES:
        with suppress(TypeError, ValueError):
            return (datetime.strptime(time, form).replace(tzinfo=timezone.utc) + ahead).strftime(form)
    return time


Change = Callable[[Rule, SandboxVendor, Ask, Call, Answer], Answer]
CHANGES: Mapping[str, Change] = {
    "repeat": _repeat,
    "another_order": _another_order,
    "another_id": _another_id,
    "doubled_id": _doubled_id,
    "float": _float,
    "clock": _clock,
}
_OF_PURCHASES = ("repeat", "another_order", "another_id", "doubled_id", "float")

"""The question about a purchase in Airflow's *Required Actions*: evidence cannot decide, a person is asked, and the task waits.

Three rules. The waiting task holds no worker and no trigger. An answer goes through the checks that every decision goes through
(:mod:`hooks.deciding`). A decision from elsewhere ends the waiting: it wakes the task, and the task looks for itself from time to
time, at the ledger and at the vendor.

Airflow keeps the first question of a task instance, also for its later tries. So a later sending of the same purchase is never
asked about there: its question would show the evidence of the earlier one.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter, LedgerError, ProxyOrdersError, Quarantined
from airflow_provider_proxyorders.domain.inputs import is_given, order_id_of, text_of
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.hooks.waking import ASKED, DECIDED_ELSEWHERE, ORDER_ID, WAS_NOT_TAKEN, WAS_TAKEN, askers
from airflow_provider_proxyorders.tasks.question_text import address_of, body_of, subject_of

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
    from airflow_provider_proxyorders.purchase.decision import Answer

log = logging.getLogger(__name__)

#: In the task's state, which Airflow keeps for all tries: the sending that its question is about.
MARK = "proxyorders_asked_about"
#: Seconds between two looks of a waiting task; the last one counts from then on.
PAUSES = (120.0, 300.0, 600.0, 1800.0)


class Asking(Protocol):
    """A task that buys, as far as its question goes."""

    on_unresolved: str
    notifiers: list[BaseNotifier]
    assigned_users: list[dict[str, str]] | None
    response_timeout: timedelta | None
    subject: str | None
    body: str | None
    options: Sequence[str]

    @property
    def hook(self) -> ProxyOrdersHook: ...


@dataclass(frozen=True)
class Waiting:
    """What a waiting task knows.

    :param sent_at: the sending that it asked about, as ISO text.
    :param until: when it gives up, as ISO text; ``None`` = never.
    :param looks: how often it has looked for itself.
    """

    order_key: str
    sent_at: str
    until: str | None = None
    looks: int = 0

    def is_about(self, purchase: Purchase) -> bool:
        """Whether a person still has to decide about the sending that the task asked about."""
        return purchase.step is Step.QUARANTINED and _sending(purchase) == self.sent_at

    def left(self) -> float:
        """Seconds until the task gives up."""
        if self.until is None:
            return float("inf")
        return (datetime.fromisoformat(self.until) - datetime.now(timezone.utc)).total_seconds()


@contextmanager
def asked_about(task: Asking, context: Context, waiting: Waiting | None = None) -> Iterator[None]:
    """Run a task that may find that evidence cannot decide: with ``on_unresolved="ask"`` it asks a person then, and waits.

    :param waiting: of a task whose question is open; ``None`` for a task that has not asked, or has its answer.
    :raises Quarantined: it does not ask, or it has waited long enough. A person has to decide elsewhere.
    """
    try:
        yield
    except ProxyOrdersError as error:
        if task.on_unresolved != "ask":
            raise
        if waiting is not None and _is_open(task, waiting):
            if waiting.left() > 0:
                _wait(task, waiting)
            raise _unanswered(error, waiting) from None
        if isinstance(error, Quarantined) and error.order_key is not None:
            _ask(task, context, error, error.order_key)
        raise


def take_answer(task: Asking, context: Context, event: Mapping[str, Any], waiting: Waiting) -> Waiting | None:
    """Record what a person answered, or find out what else ended the waiting. Afterwards the task goes on from the ledger.

    :param event: from Airflow: the answer, or that the time for it is over.
    :returns: what the task knows if the question is still open, else ``None``.
    """
    ledger = task.hook.ledger
    purchase = ledger.find(waiting.order_key)
    if purchase is None:
        raise LedgerError(f"the ledger lacks {waiting.order_key!r}; is [proxyorders] ledger_url the same on every host?")
    shown = DECIDED_ELSEWHERE in (event.get("params_input") or {})
    answered, name = "chosen_options" in event and not shown, purchase.order_id or repr(purchase.order_key)
    if waiting.is_about(purchase) and not answered:
        if shown:  # what was decided elsewhere holds no more
            _put(task, context, "", "")
        return waiting
    _mark(context, "")  # this answer is used up: a later question about this sending is asked anew
    if waiting.is_about(purchase):
        _decide(task, context, event, purchase, waiting)
    elif answered:
        log.warning("%s is %s by now; the answer changes nothing", name, purchase.step.value)
    else:
        log.info("%s is %s by now: it was decided elsewhere", name, purchase.step.value)
    return None


# -- asking ----------------------------------------------------------------------------------------------------------


def _ask(task: Asking, context: Context, error: Quarantined, order_key: str) -> None:
    """Ask a person, and wait. Returns where the question cannot be asked: the task fails with its error."""
    from airflow_provider_proxyorders.hooks.task import actor_of

    ledger = task.hook.ledger
    purchase, me = ledger.find(order_key), actor_of(context)
    if purchase is None or purchase.step is not Step.QUARANTINED:
        return
    if any(asker.same_task(me) and not about_last for asker, about_last in askers(ledger, order_key)):
        error.args = (
            f"{error} It is not asked in Required Actions: there stands this task's question about an earlier sending.",
        )
        return
    subject = subject_of(purchase, task.hook.vendor)
    if not _has_asked(context, purchase):
        body = body_of(purchase, task.hook.vendor, ledger.looks_at_last_sending(order_key))
        _put(task, context, subject, body)
        ledger.note(purchase, ASKED, me)
        _mark(context, _sending(purchase))
        _notify(task, context, order_key, subject, body)
    log.warning("%s The question is in Airflow's Required Actions; this task waits for its answer.", subject)
    until = None
    if task.response_timeout is not None:
        until = (datetime.now(timezone.utc) + task.response_timeout).isoformat()
    _wait(task, Waiting(order_key, _sending(purchase), until))


def _has_asked(context: Context, purchase: Purchase) -> bool:
    """Whether an earlier try of this task asked about this sending. Its question stands, perhaps with an answer by now.

    To ask anew would take that answer away. Airflow gives it to a task that begins to wait.
    """
    return bool(context["task_state_store"].get(MARK) == _sending(purchase))


def _mark(context: Context, sending: str) -> None:
    context["task_state_store"].set(MARK, sending)


def _put(task: Asking, context: Context, subject: str, body: str) -> None:
    field = {
        "default": None,
        "type": ["string", "null"],
        "title": "Order id",
        "description": f"The vendor's id of the order, for {WAS_TAKEN!r}",
    }
    options, users = [WAS_TAKEN, WAS_NOT_TAKEN], task.assigned_users
    _compat.ask_person(context, subject=subject, body=body, options=options, fields={ORDER_ID: field}, users=users)


def _wait(task: Asking, waiting: Waiting) -> NoReturn:
    """:raises BaseException: Airflow's own word for a task that waits for a person."""
    pause = min(PAUSES[min(waiting.looks, len(PAUSES) - 1)], max(1.0, waiting.left()))
    kwargs = asdict(replace(waiting, looks=waiting.looks + 1))
    raise _compat.until_answered("answered", kwargs, timedelta(seconds=pause)) from None


def _notify(task: Asking, context: Context, order_key: str, subject: str, body: str) -> None:
    """Call the notifiers. They find ``question`` in the context, and ``task.subject`` and ``task.body`` as of Airflow's own."""
    question = {"order_key": order_key, "subject": subject, "text": body, "url": address_of(context)}
    task.subject, task.body, task.options = subject, body, [WAS_TAKEN, WAS_NOT_TAKEN]
    for notifier in task.notifiers:
        with_question: Any = {**context, "question": question}
        try:
            copy.copy(notifier)(with_question)  # a notifier renders its templates in place
        except Exception:  # the question stands all the same
            log.exception("Notifier %s failed", type(notifier).__name__)


# -- what ends the waiting --------------------------------------------------------------------------------------------


def _decide(task: Asking, context: Context, event: Mapping[str, Any], purchase: Purchase, waiting: Waiting) -> None:
    """Record an answer. A refused one is asked for again."""
    from airflow_provider_proxyorders.hooks import deciding
    from airflow_provider_proxyorders.ledger import StaleClaim

    user = event.get("responded_by_user") or {}
    author = deciding.person(str(user.get("name") or user.get("id") or "somebody"))
    try:
        deciding.decide(task.hook.ledger, purchase.order_key, _answer_of(event, purchase), author, hook=task.hook)
    except StaleClaim:
        log.warning("Order key %r was taken further meanwhile; the answer changes nothing", purchase.order_key)
        return
    except ProxyOrdersError as refused:
        log.error("The answer of %s is not recorded: %s", author.host, one_line(refused))
        log.warning("The question is open again in Required Actions")
        _put(task, context, "", "")  # the first question stands; this takes the answer away
        _mark(context, waiting.sent_at)
        if waiting.left() > 0:
            _wait(task, waiting)
        raise _unanswered(refused, waiting) from None
    log.info("%s answered: %s", author.host, ", ".join(event["chosen_options"]))


def _answer_of(event: Mapping[str, Any], purchase: Purchase) -> Answer:
    """:raises InvalidParameter: the answer contradicts itself, or the order id is missing or no id. Nothing was changed."""
    from airflow_provider_proxyorders.purchase.decision import Answer

    order_id, note = text_of(ORDER_ID, (event.get("params_input") or {}).get(ORDER_ID)), "answered in Required Actions"
    if event["chosen_options"] == [WAS_TAKEN]:
        return Answer("adopt", order_id_of(order_id or purchase.target), note)
    if event["chosen_options"] != [WAS_NOT_TAKEN]:
        raise ConfigError(f"the answer must be one of {WAS_TAKEN!r}, {WAS_NOT_TAKEN!r}. Nothing was changed.")
    if order_id:
        raise ConfigError(
            f"the answer is {WAS_NOT_TAKEN!r}, and it names order {order_id}. Leave the order id empty. Nothing was changed."
        )
    return Answer("absent", note=note)


def _is_open(task: Asking, waiting: Waiting) -> bool:
    """Whether a person still has to decide; also while the ledger cannot tell."""
    try:
        purchase = task.hook.ledger.find(waiting.order_key)
    except LedgerError:
        return True
    return purchase is not None and waiting.is_about(purchase)


def _sending(purchase: Purchase) -> str:
    return (purchase.sent_at or purchase.created_at).isoformat()


def _unanswered(error: ProxyOrdersError, waiting: Waiting) -> ProxyOrdersError:
    text = f"Nobody has answered in Required Actions until {waiting.until}. {error}"
    return Quarantined(text, order_key=waiting.order_key)


# -- parameters, in the forms that Airflow's own operators take ----------------------------------------------------------


def notifiers_of(value: Sequence[BaseNotifier] | BaseNotifier | None) -> list[BaseNotifier]:
    """One notifier, or several.

    :raises InvalidParameter: for anything that cannot be called, since only an alert would show it.
    """
    several: Any = value if isinstance(value, (list, tuple)) else [value]
    notifiers = [notifier for notifier in several if is_given(notifier)]
    for notifier in notifiers:
        if not callable(notifier):
            raise InvalidParameter("notifiers", "must be notifiers of Airflow", 'SlackNotifier(text="...")', got=notifier)
    return notifiers


def users_of(name: str, value: object) -> list[dict[str, str]] | None:
    """The users for an answer: one or several, each with ``id`` and ``name``; ``None`` = all with the right.

    :raises InvalidParameter: for anything else.
    """
    if not is_given(value):
        return None
    several: Any = [value] if isinstance(value, Mapping) else value
    if not isinstance(several, (list, tuple)) or not all(
        isinstance(user, Mapping) and {*user} == {"id", "name"} for user in several
    ):
        rule = "must be a user or a list of users, each with its id and name in Airflow"
        raise InvalidParameter(name, rule, [{"id": "1", "name": "ada"}], got=value)
    return [{"id": str(user["id"]), "name": str(user["name"])} for user in several] or None

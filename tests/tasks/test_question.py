"""P3 and P12: where evidence cannot decide, the task asks a person in Airflow's Required Actions, and goes on with the answer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import BaseNotifier
from markdown_it import MarkdownIt

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.domain.errors import InvalidParameter, ProxyOrdersError, Quarantined
from airflow_provider_proxyorders.domain.model import Purchase, Step
from airflow_provider_proxyorders.hooks import deciding
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.hooks.waking import ASKED, DECIDED_ELSEWHERE, WAS_NOT_TAKEN, WAS_TAKEN, askers
from airflow_provider_proxyorders.ledger import Ledger
from airflow_provider_proxyorders.ledger.schema import purchases
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.purchase.decision import Answer
from airflow_provider_proxyorders.tasks.question import PAUSES
from tests.hooks.connections import REQUESTS, Shops

from .required_actions import TIME_IS_OVER, RequiredActions, Worker, answer
from .tasks import context

KEY = "k"


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> RequiredActions:
    return RequiredActions(monkeypatch)


def task_context(**names: Any) -> Any:
    """A task instance with an id, as every try has its own."""
    made = context(**names)
    made["ti"].id = uuid.uuid4()
    return made


def asking(shops: Shops, **options: Any) -> Callable[[], CreateProxyOrderOperator]:
    conn_id = shops.connect("voodoo")
    given = {"request": dict(REQUESTS["voodoo"]), "order_key": KEY, "poll_interval": 0.1, "deferrable": False, **options}
    return lambda: CreateProxyOrderOperator(task_id="buy", conn_id=conn_id, **{"on_unresolved": "ask", **given})


def lose_the_answer(shops: Shops, *, taken: bool = True) -> None:
    """The vendor refuses the repeat of a reference that it has, or says that it has; no call tells the order's id."""
    shops.box.fault("voodoo", "create", when="after" if taken else "before", action="reset", times=1)
    if not taken:
        shops.box.fault("voodoo", "create", action="refuse", reason="duplicate", times=1)


def worker(shops: Shops, *, taken: bool = True, **options: Any) -> Worker:
    """A worker whose task waits for a person."""
    lose_the_answer(shops, taken=taken)
    made = Worker(asking(shops, **options), task_context())
    assert made.start(), "it waits"
    return made


def ledger() -> Ledger:
    return ProxyOrdersHook("any").ledger


def purchase(key: str = KEY) -> Purchase:
    found = ledger().find(key)
    assert found is not None
    return found


def only_order(shops: Shops) -> str:
    (entry,) = shops.bought("voodoo")
    assert entry.order_id is not None
    return entry.order_id


class TestAnswers:
    def test_taken(self, shops: Shops, actions: RequiredActions) -> None:
        waits = worker(shops)
        question = actions.only().question
        assert question.options == [WAS_TAKEN, WAS_NOT_TAKEN] and not question.multiple and question.defaults is None
        assert question.subject == "Did Voodoo take this order (up to 25.00 USD)?"
        assert question.params is not None and question.params["order_id"]["schema"]["type"] == ["string", "null"]
        assert str(ledger().find(KEY).request["merchant_order_id"]) in (question.body or "")  # type: ignore[union-attr]

        assert not waits.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))
        assert waits.result["order_id"] == only_order(shops) and waits.result["status"] == "delivered"
        history = ledger().history(KEY)
        assert [entry.step for entry in history if entry.why == ASKED] == [Step.QUARANTINED]
        assert any("ada" in entry.actor.host for entry in history), "the history names the person"

    def test_not_taken(self, shops: Shops, actions: RequiredActions) -> None:
        waits = worker(shops, taken=False)
        assert shops.bought("voodoo") == []
        assert not waits.go_on(answer(WAS_NOT_TAKEN, order_id=None))
        assert waits.result["order_id"] == only_order(shops)

    def test_not_taken_and_lost_again_fails_since_airflow_would_show_the_old_evidence(
        self, shops: Shops, actions: RequiredActions
    ) -> None:
        waits = worker(shops, taken=False)
        lose_the_answer(shops)
        with pytest.raises(Quarantined, match="an earlier sending"):
            waits.go_on(answer(WAS_NOT_TAKEN))
        assert len(shops.bought("voodoo")) == 1 and purchase().step is Step.QUARANTINED
        with pytest.raises(Quarantined, match="an earlier sending"):  # a Clear later
            Worker(waits.make, task_context(try_number=2)).start()
        assert len(shops.bought("voodoo")) == 1

    @pytest.mark.parametrize(
        ("option", "order_id"),
        [
            (WAS_TAKEN, None),
            (WAS_TAKEN, ""),
            (WAS_TAKEN, "an id that the vendor does not have"),
            (WAS_TAKEN, "of another purchase"),
            (WAS_TAKEN, "a\nb"),
            (WAS_TAKEN, {"id": 1}),
            (WAS_NOT_TAKEN, "7001"),
            ("Perhaps", None),
        ],
    )
    def test_a_refused_answer_is_asked_again(
        self, shops: Shops, actions: RequiredActions, caplog: pytest.LogCaptureFixture, option: str, order_id: Any
    ) -> None:
        other = ProxyOrdersHook(shops.connect("voodoo")).create_order(REQUESTS["voodoo"], order_key="other").order_id
        waits = worker(shops)
        before, asked = purchase(), actions.only()
        named = other if order_id == "of another purchase" else order_id
        asked.chosen, asked.fields = [option], {"order_id": named}
        assert waits.go_on(answer(option, order_id=named)), "it waits again"
        assert asked.chosen is None, "the question is open again"
        assert purchase() == before and "is not recorded" in caplog.text
        (order_id,) = (entry.order_id for entry in shops.bought("voodoo") if entry.order_id != other)
        assert not waits.go_on(answer(WAS_TAKEN, order_id=order_id))
        assert len(shops.bought("voodoo")) == 2 and purchase().order_id == order_id

    def test_a_person_without_a_name(self, shops: Shops, actions: RequiredActions) -> None:
        assert not (waits := worker(shops)).go_on(answer(WAS_TAKEN, None, order_id=only_order(shops)))
        assert waits.result["order_id"] == only_order(shops)


def decide_elsewhere(shops: Shops, word: Any = "adopt") -> None:
    deciding.decide(ledger(), KEY, Answer(word, only_order(shops) if word == "adopt" else ""), deciding.person("grace"))


class TestDecidedElsewhere:
    def test_ends_the_waiting(self, shops: Shops, actions: RequiredActions) -> None:
        waits = worker(shops)
        decide_elsewhere(shops)
        assert not waits.go_on(TIME_IS_OVER)
        assert waits.result["order_id"] == only_order(shops)

    def test_as_absent(self, shops: Shops, actions: RequiredActions) -> None:
        waits = worker(shops, taken=False)
        decide_elsewhere(shops, "absent")
        assert not waits.go_on(TIME_IS_OVER)
        assert waits.result["order_id"] == only_order(shops)

    @pytest.mark.parametrize("late", [answer(WAS_NOT_TAKEN), answer(WAS_TAKEN, order_id="7777")])
    def test_a_later_answer_changes_nothing(self, shops: Shops, actions: RequiredActions, late: dict[str, Any]) -> None:
        waits = worker(shops)
        decide_elsewhere(shops)
        assert not waits.go_on(late)
        assert waits.result["order_id"] == only_order(shops)

    def test_an_answer_about_an_earlier_sending_changes_nothing(self, shops: Shops, actions: RequiredActions) -> None:
        """Another DAG has sent the key again meanwhile, and its answer was lost, too."""
        waits = worker(shops, taken=False)
        decide_elsewhere(shops, "absent")
        lose_the_answer(shops)
        second = Worker(asking(shops), task_context(dag_id="second"))
        assert second.start()
        with pytest.raises(Quarantined):
            waits.go_on(answer(WAS_NOT_TAKEN))
        assert purchase().step is Step.QUARANTINED and len(shops.bought("voodoo")) == 1
        assert not second.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))

    def test_by_the_answer_in_another_dag(self, shops: Shops, actions: RequiredActions) -> None:
        first = worker(shops)
        second = Worker(asking(shops), task_context(dag_id="second"))
        assert second.start()
        assert [(actor.dag_id, last) for actor, last in askers(ledger(), KEY)] == [("shop", True), ("second", True)]
        assert not second.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))
        assert not first.go_on(TIME_IS_OVER)
        assert first.result["order_id"] == second.result["order_id"] == only_order(shops)

    @pytest.mark.parametrize("option", [WAS_TAKEN, WAS_NOT_TAKEN])
    def test_a_shown_decision_is_no_answer(self, shops: Shops, actions: RequiredActions, option: str) -> None:
        """It only wakes the task. If it settled nothing, or holds no more, the question is open again and nothing is bought."""
        waits = worker(shops)
        before, asked = purchase(), actions.only()
        asked.chosen = [option]
        assert waits.go_on(answer(option, order_id=only_order(shops), **{DECIDED_ELSEWHERE: True}))
        assert asked.chosen is None and purchase() == before and len(shops.bought("voodoo")) == 1
        assert not waits.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))

    def test_a_decision_that_settles_nothing_wakes_no_task(
        self, shops: Shops, actions: RequiredActions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The order of a late answer is another buyer's: the purchase itself is as open as before."""
        worker(shops)
        woken: list[Any] = []
        monkeypatch.setattr(_compat, "wake", lambda *wake: woken.append(wake) or 1)
        book = ledger()
        book.ask(purchase(), "7777", "a late answer names order 7777", deciding.person("grace"))
        deciding.decide(book, KEY, Answer("foreign", "7777"), deciding.person("grace"))
        assert purchase().step is Step.QUARANTINED and woken == []
        decide_elsewhere(shops)
        ((tasks, option, fields, _by),) = woken
        assert [task["dag_id"] for task in tasks] == ["shop"] and option == WAS_TAKEN and fields[DECIDED_ELSEWHERE] is True

    @pytest.mark.parametrize("used", [answer(WAS_NOT_TAKEN), TIME_IS_OVER])
    def test_an_answer_is_used_up(self, shops: Shops, actions: RequiredActions, used: dict[str, Any]) -> None:
        """What was decided holds no more, and the same sending is open again: the earlier answer decides nothing then."""
        waits = worker(shops)
        asked, sent = actions.only(), purchase()
        decide_elsewhere(shops)
        asked.chosen = [WAS_NOT_TAKEN]
        assert not waits.go_on(used)
        with ledger().engine.begin() as connection:  # as after a disowned order
            row = {"step": "quarantined", "order_id": None, "maybe_sent": True, "confirmed": False}
            connection.execute(purchases.update().where(purchases.c.order_key == KEY).values(**row))
        assert purchase().sent_at == sent.sent_at
        assert Worker(waits.make, waits.context).start() and asked.chosen is None, "asked anew"

    def test_an_answer_to_a_try_that_airflow_failed_wrongly_counts(self, shops: Shops, actions: RequiredActions) -> None:
        """Airflow 3.3 may fail a task that resumes at once. The next try keeps its question, and with it the answer."""
        waits = worker(shops)
        asked = actions.only()
        asked.chosen = [WAS_TAKEN]
        retry = Worker(waits.make, waits.context)
        retry.context["ti"].try_number = 2
        assert retry.start() and asked.chosen == [WAS_TAKEN], "it waits, and Airflow hands it the answer"
        assert not retry.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))
        assert [entry.why for entry in ledger().history(KEY)].count(ASKED) == 1

    def test_by_a_clear(self, shops: Shops, actions: RequiredActions) -> None:
        """The new try asks anew under its own id; its answer counts."""
        waits = worker(shops)
        cleared = Worker(waits.make, task_context(try_number=2))
        assert cleared.start() and len(actions.asked) == 2
        assert not cleared.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))


class TestWaiting:
    def test_looks_for_itself_and_waits_on(self, shops: Shops, actions: RequiredActions) -> None:
        waits = worker(shops)
        for _ in range(5):
            assert waits.go_on(TIME_IS_OVER)
        seconds = [wait.timeout.total_seconds() for wait in waits.waits]
        assert seconds == [*PAUSES, *PAUSES[-1:] * 2] and purchase().step is Step.QUARANTINED
        assert len([entry for entry in ledger().history(KEY) if entry.why == ASKED]) == 1, "asked once"

    def test_an_answer_that_comes_during_a_look_stays(self, shops: Shops, actions: RequiredActions) -> None:
        """Airflow resumes a task that begins to wait with an answer; a second question would take the answer away."""
        waits = worker(shops)
        actions.only().chosen = [WAS_TAKEN]
        assert waits.go_on(TIME_IS_OVER)
        assert actions.only().chosen == [WAS_TAKEN]

    @pytest.mark.parametrize("trouble", ["vendor", "Airflow"])
    def test_waits_through_trouble(self, shops: Shops, actions: RequiredActions, trouble: str) -> None:
        waits = worker(shops)
        if trouble == "vendor":
            shops.box.fault("voodoo", action="status", status=503)
        actions.up = trouble == "vendor"
        assert waits.go_on(TIME_IS_OVER)
        shops.box.clear_faults()
        actions.up = True
        assert not waits.go_on(answer(WAS_TAKEN, order_id=only_order(shops)))

    def test_fails_after_its_time(self, shops: Shops, actions: RequiredActions, monkeypatch: pytest.MonkeyPatch) -> None:
        waits = worker(shops, response_timeout="PT1M")
        assert waits.waits[-1].timeout.total_seconds() <= 60
        assert waits.waits[-1].kwargs is not None
        waits.waits[-1].kwargs["until"] = "2026-03-01T00:00:00+00:00"
        with pytest.raises(Quarantined, match=r"Nobody has answered in Required Actions until 2026-03-01.*resolve") as error:
            waits.go_on(TIME_IS_OVER)
        assert error.value.retry == "never" and error.value.money == "unknown"
        assert purchase().step is Step.QUARANTINED

    def test_without_asking_it_fails(self, shops: Shops, actions: RequiredActions) -> None:
        lose_the_answer(shops)
        with pytest.raises(Quarantined):
            Worker(asking(shops, on_unresolved="fail"), task_context()).start()
        assert actions.asked == {}

    def test_other_errors_are_not_asked_about(self, shops: Shops, actions: RequiredActions) -> None:
        shops.box.fault("voodoo", "create", action="refuse", reason="balance")
        with pytest.raises(ProxyOrdersError, match="Nothing was bought"):
            Worker(asking(shops), task_context()).start()
        assert actions.asked == {}


class Notifier(BaseNotifier):
    """Keeps what it was told."""

    template_fields = ("message",)
    told: list[tuple[str, dict[str, Any]]] = []

    def __init__(self, message: str = "{{ task.subject }} {{ question.url }}"):
        super().__init__()
        self.message = message

    def notify(self, context: Any) -> None:
        self.told.append((self.message, context["question"]))


class Broken(BaseNotifier):
    def notify(self, context: Any) -> None:
        raise ConnectionError("the mail server is away")


class TestPeople:
    def test_notifiers_are_called_once(self, shops: Shops, actions: RequiredActions, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/")
        monkeypatch.setattr(Notifier, "told", [])
        made = asking(shops, notifiers=[Broken(), Notifier()])
        lose_the_answer(shops)
        task, given = made(), task_context()
        waits = Worker(lambda: task, {**given, "task": task})
        assert waits.start() and waits.go_on(TIME_IS_OVER)
        ((message, question),) = Notifier.told
        url = "https://airflow.example.com/team/dags/shop/runs/manual__1/tasks/buy/required_actions"
        assert message == f"Did Voodoo take this order (up to 25.00 USD)? {url}"
        assert question["url"] == url and question["order_key"] == KEY and "It was taken" in question["text"]

    def test_assigned_people(self, shops: Shops, actions: RequiredActions) -> None:
        worker(shops, assigned_users={"id": 7, "name": "ada"})
        users = actions.only().question.assigned_users
        assert users is not None and [(user.id, user.name) for user in users] == [("7", "ada")]

    @pytest.mark.parametrize("users", ["ada", {"id": "7"}, [{"name": "ada"}], 7, [["7", "ada"]]])
    def test_people_without_id_or_name(self, users: Any) -> None:
        with pytest.raises(InvalidParameter, match="assigned_users must be"):
            CreateProxyOrderOperator(task_id="buy", conn_id="c", request={}, assigned_users=users)

    @pytest.mark.parametrize(
        ("name", "value"), [("response_timeout", 0), ("response_timeout", "soon"), ("on_unresolved", "guess")]
    )
    def test_other_mistakes(self, name: str, value: Any) -> None:
        with pytest.raises(InvalidParameter, match=name):
            CreateProxyOrderOperator(task_id="buy", conn_id="c", request={}, **{name: value})


HOSTILE = [
    "[click](https://evil.example/)",
    "<https://evil.example/>",
    "https://evil.example/ www.evil.example a@evil.example",
    "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "![x](javascript:alert(1))",
    "\n\n~~~\n~~~~~~\n# big\n```\n[x](https://evil.example/)",
    "~~~~~~~~~~~~~~~~~~~~",
    "\x1b[31mred\x1b]8;;https://evil.example/\x07x",
    "{{ conn.voodoo_default.password }} {% for x in y %} {# x #}",
    "&lt;b&gt; \u202e\u200b | a | b |",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_vendors_text_is_shown_as_it_is(shops: Shops, actions: RequiredActions, text: str) -> None:
    """P13: the body is Markdown in Airflow's page, so a vendor's words must stay words there."""
    lose_the_answer(shops)
    shops.box.fault("voodoo", "create", action="refuse", reason="duplicate", body=text, times=1)
    reference = re.sub(r"[\x00-\x1f]", " ", f"r {text}")[:90]
    made = asking(shops, request={**REQUESTS["voodoo"], "fields": {"note": text}, "merchant_order_id": reference})
    waits = Worker(made, task_context())
    try:
        asked = waits.start()
    except ProxyOrdersError:  # refused before anything was sent
        assert shops.bought("voodoo") == []
        return
    assert asked
    body = actions.only().question.body or ""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]", body)
    assert not re.search(r"\{[{%#]", body)
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    assert html.count("<code") == html.count("<pre>") == 1
    assert {*re.findall(r"<(\w+)", html)} == {"p", "strong", "pre", "code"}, html
    assert "evil.example" not in re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL), "outside of the block"

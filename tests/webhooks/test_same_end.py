"""P7 as a property: webhooks of every kind leave the ledger at the same end as a ledger without webhooks.

The same story happens twice, with a real sandbox and a real ledger. Once a real receiver gets webhooks in any order, doubled,
lost, early, forged, altered, replayed, with a false status, and about unknown orders. Once no webhook comes at all. In between
come tries, polls and woken tasks. In the telling without webhooks a person does the rest, with the usual command.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.domain.account import Account, Caps
from airflow_provider_proxyorders.domain.errors import OutcomeUnknown
from airflow_provider_proxyorders.domain.model import UNRESOLVED, Purchase, Step, decimal
from airflow_provider_proxyorders.ledger import Ledger, open_ledger
from airflow_provider_proxyorders.ledger.inbox import digest_of
from airflow_provider_proxyorders.purchase.buyer import Buyer
from airflow_provider_proxyorders.sandbox import Entry, Sandbox
from airflow_provider_proxyorders.sandbox.webhook_sender import payload
from airflow_provider_proxyorders.transport.worker import Http
from airflow_provider_proxyorders.vendors.voodoo import Voodoo

from .conftest import SECRET, Running, webhook_body

KEYS = ("a", "b")
QUANTITY = {"a": 2, "b": 3}
#: How a webhook is sent, and the answer that the receiver must give.
WAYS = {"once": 200, "doubled": 200, "untrue": 200, "forged": 401, "altered": 401, "other secret": 401}
ENDS = {"completed": Step.DELIVERED, "partial": Step.PARTIAL, "failed": Step.FAILED}
Event = tuple[str, ...]
numbers = count()


@dataclass(frozen=True)
class Story:
    """The events of a story.

    :param answers: by key, whether the answer to the purchase comes, is lost, or comes late, after ``meanwhile``.
    :param ends: by key, how the vendor ends the order.
    """

    answers: dict[str, str]
    ends: dict[str, str]
    meanwhile: dict[str, list[Event]]
    events: list[Event]


each_key = st.sampled_from(KEYS)
webhooks = st.one_of(
    st.tuples(st.just("send"), each_key, st.sampled_from(sorted(WAYS))),
    st.tuples(st.just("replay"), st.sampled_from("012")),
    st.tuples(st.just("stranger"), st.sampled_from("xy")),
    st.tuples(st.just("wake")),
)
others = st.tuples(st.sampled_from(["try", "try", "poll", "end"]), each_key)
stories = st.builds(
    Story,
    answers=st.fixed_dictionaries({key: st.sampled_from(["come", "lost", "late"]) for key in KEYS}),
    ends=st.fixed_dictionaries({key: st.sampled_from(sorted(ENDS)) for key in KEYS}),
    meanwhile=st.fixed_dictionaries({key: st.lists(st.one_of(webhooks, st.just(("end", key))), max_size=3) for key in KEYS}),
    events=st.lists(st.one_of(others, webhooks), min_size=4, max_size=14),
)


@dataclass
class Telling:
    """The story as it happens on one connection.

    :param running: the receiver, ``None`` for the telling without webhooks.
    """

    conn_id: str
    box: Sandbox
    ledger: Ledger
    story: Story
    running: Running | None
    name: str = field(default_factory=lambda: f"story-{next(numbers)}")
    tried: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = Account(
            "voodoo",
            self.conn_id,
            f"voodoo:{self.conn_id}",
            self.box.url("voodoo"),
            self.box.token("voodoo"),
            settings={"settle": 0, **({"webhook_secret": SECRET} if self.running else {})},
            caps=Caps(max_order_price=decimal("25.00")),
            currency="EUR",
            timeout=5.0,
        )
        self.seen = self.running.inbox.newest() if self.running else 0

    @property
    def buyer(self) -> Buyer:
        """A new try's."""
        return Buyer(Voodoo(self.account), Http(self.account), self.ledger, say=lambda text: None)

    def key(self, key: str) -> str:
        return f"{self.name}/{key}"

    def taken(self, key: str) -> Entry | None:
        """The entry of a purchase in the vendor's book."""
        reference = self.buyer.reference(self.key(key))
        entries = [entry for entry in self.box.book.orders("voodoo") if entry.reference == reference]
        assert len(entries) <= 1, "bought twice"
        return entries[0] if entries else None

    def known(self, key: str) -> Purchase | None:
        return self.ledger.find(self.key(key))

    # -- what happens ----------------------------------------------------------------------------------------------

    def tell(self) -> dict[str, Any]:
        for event in self.story.events:
            self.happen(event)
        for key in KEYS:
            self.close(key)
        return {key: self.end_of(key) for key in KEYS}

    def happen(self, event: Event) -> None:
        what, *details = event
        if what in ("send", "replay", "stranger", "wake"):
            if self.running is not None:
                getattr(self, what)(*details)
        else:
            getattr(self, {"try": "one_try"}.get(what, what))(*details)

    def one_try(self, key: str) -> None:
        first, answer = key not in self.tried, self.story.answers[key]
        self.tried.add(key)
        if not first or answer == "come":
            return self.place(key)
        if answer == "lost":
            self.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="reset")
            return self.place(key)
        rule = self.box.fault(vendor="voodoo", operation="create", when="after", times=1, action="pause")
        buying = threading.Thread(target=self.place, args=(key,))
        buying.start()
        assert rule.wait()
        for event in self.story.meanwhile[key]:  # the vendor has it, and our ledger does not know its id
            self.happen(event)
        rule.release()
        buying.join()

    def place(self, key: str) -> None:
        with contextlib.suppress(OutcomeUnknown):
            self.buyer.place({"item_id": 5120, "quantity": QUANTITY[key]}, order_key=self.key(key))

    def poll(self, key: str) -> None:
        order = self.known(key)
        if order is not None and order.order_id is not None:
            self.buyer.refresh(order)

    def end(self, key: str) -> None:
        entry = self.taken(key)
        if entry is not None and key not in self.ended:
            self.ended.add(key)
            status = {"order_id": entry.order_id, "status": self.story.ends[key]}
            self.box.control({"vendor": "voodoo", "set_status": status})

    # -- webhooks --------------------------------------------------------------------------------------------------

    def send(self, key: str, way: str) -> None:
        entry = self.taken(key)
        if entry is None:
            return
        order = self.box.state.vendors["voodoo"].orders[entry.order_id].wire()  # type: ignore[attr-defined]
        body = payload({**order, "status": "completed"} if way == "untrue" else order)
        signed = {"forged": "a guess", "other secret": "another-secret"}.get(way, SECRET)
        for _ in range(2 if way == "doubled" else 1):
            if way == "altered":
                self.post(body[:-1] + b" ", 401, signed_as=body)
            else:
                self.post(body, WAYS[way], secret=signed)

    def replay(self, number: str) -> None:
        if self.sent:
            self.post(self.sent[int(number) % len(self.sent)], 200)

    def stranger(self, name: str) -> None:
        self.post(webhook_body(f"{self.name}-{name}", merchant_order_id=f"af-{self.name}"), 200)

    def post(self, body: bytes, expected: int, *, secret: str = SECRET, signed_as: bytes | None = None) -> None:
        assert self.running is not None
        if signed_as is not None:
            headers = {"x-webhook-signature": Voodoo.webhook.sign(signed_as, SECRET)["x-webhook-signature"]}
            assert self.running.post(body, conn_id=self.conn_id, **headers) == expected
        else:
            assert self.running.post(body, conn_id=self.conn_id, secret=secret) == expected
        if expected == 200:
            self.sent.append(body)

    def wake(self) -> None:
        """Woken tasks look at their order."""
        assert self.running is not None
        for hint in self.running.inbox.since(self.seen):
            self.seen = hint.number
            for key in KEYS:
                order = self.known(key)
                if order is not None and order.order_id == hint.order_id:
                    self.buyer.refresh(order)

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self, key: str) -> None:
        """The rest: the task's last tries, a person if needed, the vendor's end and a last look."""
        self.one_try(key)
        self.place(key)
        order, entry = self.known(key), self.taken(key)
        assert order is not None and entry is not None
        if order.step in UNRESOLVED:
            url = self.ledger.engine.url.render_as_string(hide_password=False)
            words = ["resolve", order.order_key, "--adopt", entry.order_id, "--unchecked", "--yes", "--ledger-url", url]
            assert main(["ledger", *words]) == 0
        self.end(key)
        self.poll(key)

    def end_of(self, key: str) -> Any:
        """The result to compare between both tellings."""
        order, entry = self.known(key), self.taken(key)
        assert order is not None and entry is not None and order.order_id == entry.order_id
        return order.step, order.price, order.delivered, order.vendor_status, order.reserved

    def check_inbox(self) -> None:
        """One row for each distinct true webhook, with its copies counted, and none for the others."""
        assert self.running is not None
        since = [hint for hint in self.running.kept() if hint.wallet == self.account.wallet]
        counted = {hint.digest: hint.times for hint in since}
        digests = [digest_of(self.account.wallet, body) for body in self.sent]
        assert {digest: counted[digest] for digest in digests} == {digest: digests.count(digest) for digest in digests}
        strangers = {hint.order_id for hint in since if hint.order_id.startswith(f"{self.name}-")}
        listed = self.running.inbox.newest_first(wallet=self.account.wallet, unmatched=True, limit=10_000)
        assert strangers <= {kept.hint.order_id for kept in listed}
        assert not {kept.hint.order_id for kept in listed} & {entry.order_id for entry in self.box.book.orders("voodoo")}


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox.start(processing=1e6) as box:
        yield box


def tell_both(story: Story, box: Sandbox, running: Running) -> tuple[Telling, dict[str, Any], dict[str, Any]]:
    """Each telling begins with the same balance: what the other one spent is not missing from this one's wallet."""
    ledger = open_ledger(running.inbox.engine.url.render_as_string(hide_password=False))

    def begin(conn_id: str, running: Running | None) -> Telling:
        box.state.reset("voodoo")
        box.clear_faults()
        box.control({"vendor": "voodoo", "wallet": {"balance": "1000000"}})
        return Telling(conn_id, box, ledger, story, running)

    without = begin("voodoo_bare", None).tell()
    telling = begin("voodoo_default", running)
    return telling, telling.tell(), without


@pytest.mark.parametrize("options", [{"webhook_rate": "100000"}])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(story=stories)
def test_webhooks_of_every_kind_end_in_the_same_ledger(box: Sandbox, running: Running, story: Story) -> None:
    telling, with_webhooks, without = tell_both(story, box, running)
    assert with_webhooks == without
    assert {key: end[0] for key, end in without.items()} == {key: ENDS[story.ends[key]] for key in KEYS}
    telling.check_inbox()


def lost_and_late(*events: Sequence[str]) -> Story:
    return Story(
        answers={"a": "lost", "b": "late"},
        ends={"a": "completed", "b": "partial"},
        meanwhile={"a": [], "b": [("end", "b"), ("send", "b", "doubled")]},
        events=[tuple(event) for event in events],
    )


def test_a_webhook_before_the_answer_of_the_purchase_counts(
    box: Sandbox, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook may come before the ledger knows the order id. It is stored, and completes the lost answer without a person."""
    monkeypatch.setattr("tests.webhooks.test_same_end.main", lambda words: pytest.fail("a person was asked"))
    story = lost_and_late(("try", "a"), ("end", "a"), ("send", "a", "once"), ("try", "b"), ("try", "a"), ("wake",))
    ledger = open_ledger(running.inbox.engine.url.render_as_string(hide_password=False))
    box.state.reset("voodoo")
    telling = Telling("voodoo_default", box, ledger, story, running)
    assert {key: end[0] for key, end in telling.tell().items()} == {"a": Step.DELIVERED, "b": Step.PARTIAL}
    telling.check_inbox()

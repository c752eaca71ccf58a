"""Looks at an unresolved purchase: append-only, of one sending, and judged in the transaction that appends them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from airflow_provider_proxyorders.domain.model import Actor, Money, Purchase, Step
from airflow_provider_proxyorders.ledger import Intent, Ledger, StaleClaim, open_ledger
from airflow_provider_proxyorders.ledger.looks import NextStep, NotedLook
from tests.counted import counted

ME = Actor(host="h")
INTENT = Intent("k", "create", "iproyal", "c", "iproyal:c", "a" * 64, {}, Money(Decimal(6), "USD"))


def unknown(ledger: Ledger) -> Purchase:
    """A purchase with a lost answer."""
    sent = ledger.claim(ledger.intend(INTENT, ME), ME, evidence={}, sent_seconds=35)
    return ledger.record(sent, Step.UNKNOWN, "no answer", ME)


def look_of(ledger: Ledger, verdict: str) -> NotedLook:
    return NotedLook(ledger.clock(), verdict, f"it is {verdict}")


def resend_after_two_absent(looks: Sequence[NotedLook]) -> list[NextStep]:
    """The rule of settling without its times: two absent looks are a proof, if no look saw more."""
    if [look.verdict for look in looks] == ["absent"] * len(looks) and len(looks) > 1:
        return [NextStep(Step.UNKNOWN, "absent"), NextStep(Step.INTENDED, "proven absent", maybe_sent=False)]
    return [NextStep(Step.UNKNOWN, looks[-1].verdict)]


def test_the_judge_gets_all_looks_of_the_sending_and_its_steps_are_written_with_the_look(ledger: Ledger) -> None:
    purchase = unknown(ledger)
    purchase, _ = ledger.add_look(purchase, look_of(ledger, "absent"), resend_after_two_absent, ME)
    assert (purchase.step, purchase.maybe_sent) == (Step.UNKNOWN, True)
    purchase, looks = ledger.add_look(purchase, look_of(ledger, "absent"), resend_after_two_absent, ME)
    assert (purchase.step, purchase.maybe_sent) == (Step.INTENDED, False)
    assert [look.verdict for look in looks] == ["absent", "absent"] == [look.verdict for look in ledger.looks("k")]
    assert [entry.step.value for entry in ledger.history("k")][-3:] == ["unknown", "unknown", "intended"]
    assert counted(ledger, "iproyal:c") == 0, "its reservation is given back"


def test_no_worker_writes_over_the_look_of_another(ledger: Ledger) -> None:
    """Both began from the same copy. The second "absent" is judged with the look in between."""
    copy = unknown(ledger)
    for verdict in ("absent", "inconclusive", "absent"):
        purchase, looks = ledger.add_look(copy, look_of(ledger, verdict), resend_after_two_absent, ME)
    assert [look.verdict for look in looks] == ["absent", "inconclusive", "absent"]
    assert (purchase.step, purchase.maybe_sent) == (Step.UNKNOWN, True)


def test_workers_at_the_same_moment_lose_no_look(ledger_url: str) -> None:
    copy, workers = unknown(open_ledger(ledger_url)), 6
    start, judged = threading.Barrier(workers), []

    def work() -> None:
        ledger = open_ledger(ledger_url)
        start.wait(30)
        steps = [NextStep(Step.UNKNOWN, "looked")]
        judged.append(len(ledger.add_look(copy, look_of(ledger, "inconclusive"), lambda looks: steps, ME)[1]))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(judged) == list(range(1, workers + 1)), "each was judged with all looks before it"


def test_a_look_belongs_to_one_sending(ledger: Ledger) -> None:
    """The look at an older sending is kept for people. It proves nothing about the newer one."""
    first = unknown(ledger)
    for _ in range(2):
        purchase, _ = ledger.add_look(first, look_of(ledger, "absent"), resend_after_two_absent, ME)
    assert purchase.step is Step.INTENDED
    second = unknown(ledger)
    purchase, looks = ledger.add_look(second, look_of(ledger, "absent"), resend_after_two_absent, ME)
    assert purchase.step is Step.UNKNOWN and len(looks) == 1
    assert len(ledger.looks_at_last_sending("k")) == 1 and len(ledger.looks("k")) == 3


def test_a_look_at_an_older_sending_is_refused(ledger: Ledger) -> None:
    first = unknown(ledger)
    ledger.record(first, Step.INTENDED, "proven absent", ME, maybe_sent=False)
    second = unknown(ledger)
    with pytest.raises(StaleClaim):
        ledger.add_look(first, look_of(ledger, "absent"), resend_after_two_absent, ME)
    assert ledger.looks("k") == [] and ledger.find("k") == second


def test_a_judge_that_fails_leaves_no_look(ledger: Ledger) -> None:
    purchase = unknown(ledger)

    def fail(looks: Sequence[NotedLook]) -> list[NextStep]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.add_look(purchase, look_of(ledger, "absent"), fail, ME)
    assert ledger.looks("k") == [] and ledger.find("k") == purchase


def test_times_of_looks_are_kept_exactly(ledger: Ledger) -> None:
    look = NotedLook(ledger.clock() - timedelta(microseconds=1), "not visible", "d")
    ledger.add_look(unknown(ledger), look, lambda looks: [], ME)
    assert ledger.looks("k") == [look]

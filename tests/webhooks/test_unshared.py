"""A receiver whose ledger the workers do not share stores nothing: the vendor sends the webhook again, and the log says why."""

from __future__ import annotations

import logging

import pytest

from .conftest import Running, webhook_body


def test_it_answers_503_and_says_why(running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    is_shared = running.inbox.engine.dialect.name == "postgresql"
    with caplog.at_level(logging.WARNING):
        assert running.post(webhook_body()) == (200 if is_shared else 503)
    assert len(running.kept()) == (1 if is_shared else 0)
    if not is_shared:
        assert "refused with 503" in caplog.text and "CeleryExecutor spreads tasks over several hosts" in caplog.text
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert running.post(webhook_body()) == 200 and len(running.kept()) == 1

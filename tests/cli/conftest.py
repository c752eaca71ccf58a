"""The command on a real ledger, in this process. The person's answers come from a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_proxyorders.cli.main import main
from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.ledger import Ledger
from tests.hooks import connections
from tests.hooks.connections import Shops


@dataclass
class Said:
    """The output of one call of the command."""

    status: int
    out: str
    err: str


@dataclass
class Command:
    """The command ``proxyorders``.

    :param answers: the person's answers, in turn; the input ends after the last answer.
    :param asked: the questions.
    """

    capsys: pytest.CaptureFixture[str]
    answers: list[str]
    asked: list[str]

    def __call__(self, *words: str, answers: tuple[str, ...] = ()) -> Said:
        self.capsys.readouterr()
        self.answers[:] = answers
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        shown = self.capsys.readouterr()
        return Said(status, shown.out, shown.err)


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")  # connections come from the environment here
    yield from connections.shops(tmp_path, monkeypatch)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    made = Command(capsys, [], [])

    def answer(question: str = "") -> str:
        made.asked.append(question)
        if not made.answers:
            raise EOFError
        return made.answers.pop(0)

    monkeypatch.setattr("builtins.input", answer)
    return made


@pytest.fixture
def ledger(shops: Shops) -> Ledger:
    """The command's default ledger."""
    return ProxyOrdersHook("any").ledger

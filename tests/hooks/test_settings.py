"""Where the ledger is, and when it cannot keep its promise: P1 needs one that all workers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.hooks.settings import ledger, ledger_url, listen_url, webhook_rate, webhook_retention

URL, EXECUTOR = "AIRFLOW__PROXYORDERS__LEDGER_URL", "AIRFLOW__CORE__EXECUTOR"

SPREAD = [
    "CeleryExecutor",
    "KubernetesExecutor",
    "EdgeExecutor",
    "airflow.providers.celery.executors.celery_executor.CeleryExecutor",
    "LocalExecutor,CeleryExecutor",
    "CeleryExecutor, LocalExecutor",
    "LocalExecutor,k8s:airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor",
    "LocalKubernetesExecutor",
    "LocalExecutor;team1=CeleryExecutor",
    "LocalExecutor;team1=LocalExecutor,far:tests.hooks.executors.NonLocalExecutor",
    "tests.hooks.executors.NonLocalExecutor",
    "LocalExecutor:tests.hooks.executors.NonLocalExecutor",
    "my_company.LocalExecutor_replacement.SlurmExecutor",
    "tests.hooks.executors.LocalExecutorThatIsMissing",
    "localexecutor",
]
ONE_HOST = [
    "LocalExecutor",
    "airflow.executors.local_executor.LocalExecutor",
    "mine:LocalExecutor",
    "mine:airflow.executors.local_executor.LocalExecutor",
    "LocalExecutor;team1=LocalExecutor",
    "LocalExecutor,tuned:tests.hooks.executors.Tuned",
]


@pytest.fixture(autouse=True)
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "ledger.db"
    monkeypatch.setenv(URL, f"sqlite:///{file}")
    return file


@pytest.mark.parametrize("executor", SPREAD)
def test_a_file_and_workers_on_many_hosts_are_refused(executor: str, sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXECUTOR, executor)
    with pytest.raises(LedgerError) as error:
        ledger()
    text = str(error.value)
    assert "SQLite" in text and "Nothing was bought" in text
    assert "AIRFLOW__PROXYORDERS__LEDGER_URL=postgresql+psycopg://" in text
    assert (error.value.retry, error.value.money) == ("never", "untouched")
    assert not sqlite.exists()


@pytest.mark.parametrize("executor", ONE_HOST)
def test_a_file_and_workers_on_one_host_are_fine(executor: str, sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EXECUTOR, executor)
    assert ledger().purchases() == []
    assert sqlite.exists()


@pytest.mark.parametrize("variable", ["AIRFLOW_IS_K8S_EXECUTOR_POD", "AIRFLOW_IS_EXECUTOR_CONTAINER"])
def test_a_file_in_a_pod_is_refused_whatever_the_pod_says(variable: str, sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own pod templates set LocalExecutor in the pod of a task."""
    monkeypatch.setenv(EXECUTOR, "LocalExecutor")
    monkeypatch.setenv(variable, "True")
    with pytest.raises(LedgerError, match=f"{variable} is set.*Nothing was bought.*LEDGER_URL=postgresql") as error:
        ledger()
    assert error.value.retry == "never" and not sqlite.exists()
    monkeypatch.setenv(variable, "")
    assert ledger().purchases() == []


def test_a_database_server_is_for_every_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at this one: it is asked for, and not refused beforehand."""
    monkeypatch.setenv(URL, "postgresql+psycopg://me:db-password@127.0.0.1:1/p")
    monkeypatch.setenv(EXECUTOR, "CeleryExecutor,KubernetesExecutor")
    with pytest.raises(LedgerError, match="refused") as error:
        ledger()
    assert error.value.retry == "soon"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///proxyorders.db", "sqlite:///./p.db", "SQLITE:///p.db"]
)
def test_a_ledger_that_every_process_has_for_itself_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory, or in whatever folder a process happens to run in: then a retry would know nothing of the first try."""
    monkeypatch.setenv(URL, url)
    with pytest.raises(LedgerError, match=r"absolute path.*Nothing was bought.*sqlite:////absolute") as error:
        ledger()
    assert error.value.retry == "never"


@pytest.mark.parametrize("configured", [None, "", "  "])
def test_by_default_it_lies_beside_airflows_own_files(
    configured: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL)
    if configured is not None:
        monkeypatch.setenv(URL, configured)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    assert ledger_url() == f"sqlite:///{tmp_path}/home/proxyorders.db"


def test_the_home_of_airflow_is_read_as_airflow_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL)
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", "$SOMEWHERE/air")
    assert ledger_url() == f"sqlite:///{tmp_path}/air/proxyorders.db"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", "~/air")
    assert ledger_url() == f"sqlite:///{tmp_path}/air/proxyorders.db"
    monkeypatch.delenv("AIRFLOW_HOME")
    assert ledger_url() == f"sqlite:///{tmp_path}/airflow/proxyorders.db"


@pytest.mark.parametrize("name", ["ledger_url", "ledger_listen_url"])
def test_an_address_may_come_from_a_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = {"ledger_url": ledger_url, "ledger_listen_url": listen_url}[name]
    monkeypatch.delenv(URL)
    command = f"AIRFLOW__PROXYORDERS__{name.upper()}_CMD"
    monkeypatch.setenv(command, "echo postgresql://me:db-password@h1,h2/p")
    assert read() == "postgresql://me:db-password@h1,h2/p"
    monkeypatch.setenv(command, "sh -c 'echo db-password >&2; exit 3'")
    with pytest.raises(LedgerError, match=f"{name} is unreadable.*Nothing was bought") as error:
        read()
    assert "db-password" not in str(error.value)


@pytest.mark.parametrize("url", ["mysql://me:db-password@db.example.com/p", "nonsense", "oracle://x/y"])
def test_what_is_no_ledger_is_said_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, url)
    with pytest.raises(LedgerError) as error:
        ledger()
    assert "db-password" not in str(error.value)
    assert error.value.money == "untouched"


def test_a_database_that_cannot_be_reached_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "postgresql+psycopg://me:db-password@127.0.0.1:1/p")
    with pytest.raises(LedgerError) as error:
        ledger()
    assert "db-password" not in str(error.value) and "127.0.0.1" in str(error.value)
    assert error.value.retry == "soon"


@pytest.mark.parametrize(("option", "read", "default"), [("rate", webhook_rate, 500), ("retention", webhook_retention, 30)])
class TestNumbersOfWebhooks:
    @pytest.mark.parametrize(("value", "number"), [("90", 90.0), (" 1 ", 1.0), ("2.5", 2.5), ("1e4", 1e4)])
    def test_given(
        self, monkeypatch: pytest.MonkeyPatch, option: str, read: Callable[[], float], default: float, value: str, number: float
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW__PROXYORDERS__WEBHOOK_{option.upper()}", value)
        assert read() == number

    def test_not_given(self, option: str, read: Callable[[], float], default: float) -> None:
        assert read() == default

    @pytest.mark.parametrize("value", ["0", "-3", "0.9", "some", "nan", "inf"])
    def test_a_mistake_is_said_and_the_default_is_used(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        option: str,
        read: Callable[[], float],
        default: float,
        value: str,
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW__PROXYORDERS__WEBHOOK_{option.upper()}", value)
        assert read() == default
        assert f"webhook_{option} must be a number >= 1, got '{value}'; {default} is used" in caplog.text

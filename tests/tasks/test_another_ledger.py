"""P1: a try on a host with another ledger buys nothing that an earlier try bought. Airflow's task state tells the two apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_proxyorders.domain.errors import LedgerError
from airflow_provider_proxyorders.hooks.settings import ledger
from airflow_provider_proxyorders.ledger.engine import close
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator, ExtendProxyOrderOperator
from tests.hooks.connections import REQUESTS, Shops

from .tasks import StateStore, context

MARK = "proxyorders_order_key"


@pytest.fixture
def go_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Go on as on another host, with a ledger of its own there."""
    return lambda name: monkeypatch.setenv("AIRFLOW__PROXYORDERS__LEDGER_URL", f"sqlite:///{tmp_path}/{name}.db")


def buy(shops: Shops, vendor: str, given: Any, key: str = "k") -> Any:
    request = REQUESTS[vendor]
    return CreateProxyOrderOperator(
        task_id="buy", conn_id=shops.connect(vendor), request=request, order_key=key, wait_for_completion=False
    ).execute(given)


def test_a_retry_or_a_clear_there_buys_nothing(shops: Shops, vendor: str, go_to: Callable[[str], None]) -> None:
    given = context()
    order = buy(shops, vendor, given)
    first = ledger().identity
    go_to("elsewhere")
    with pytest.raises(LedgerError) as error:
        buy(shops, vendor, given)
    text = str(error.value)
    assert f"recorded 'k' in the ledger {first}" in text and f"opened the ledger {ledger().identity}" in text
    assert "whether that purchase was taken stands in the first one only. This try bought nothing." in text
    assert (error.value.retry, error.value.money) == ("never", "untouched")
    assert ledger().find("k") is None and len(shops.bought(vendor)) == 1
    go_to("ledger")
    assert buy(shops, vendor, given) == order and len(shops.bought(vendor)) == 1


def test_an_older_copy_of_the_ledger_is_another_one(shops: Shops, tmp_path: Path, go_to: Callable[[str], None]) -> None:
    """It has the same id, and lacks the purchase."""
    given, identity = context(), ledger().identity
    close()  # with all commits in one file
    shutil.copy(tmp_path / "ledger.db", tmp_path / "copy.db")
    buy(shops, "iproyal", given)
    go_to("copy")
    assert ledger().identity == identity
    with pytest.raises(LedgerError, match="lacks 'k', which an earlier try recorded and may have bought.*bought nothing"):
        buy(shops, "iproyal", given)
    assert len(shops.bought("iproyal")) == 1


def test_an_extension_whose_key_is_another_one_there(shops: Shops, go_to: Callable[[str], None]) -> None:
    """Its default key has the expiry in it, which only the first ledger remembers from the start of the task."""
    until = f"{datetime.now(timezone.utc) + timedelta(days=5):%Y-%m-%d %H:%M:%S}"
    fields = {"id": 7001, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "expire_date": until}
    shops.box.control({"vendor": "iproyal", "order": fields})
    task, given = {"task_id": "extend", "order_id": "7001", "request": {"product_plan_id": 22}, "deferrable": False}, context()
    conn_id = shops.connect("iproyal")
    ExtendProxyOrderOperator(conn_id=conn_id, **task).execute(given)
    go_to("elsewhere")
    with pytest.raises(LedgerError, match="This try bought nothing"):
        ExtendProxyOrderOperator(conn_id=conn_id, **task).execute(given)
    assert len(shops.bought("iproyal")) == 1


def test_a_task_that_buys_several_orders_goes_on(shops: Shops) -> None:
    """The mark names the last one, and the ledger has them all."""
    given = context()
    orders = [buy(shops, "iproyal", given, key)["order_id"] for key in ("a", "b")]
    assert given["task_state_store"].kept == {MARK: {"order_key": "b", "ledger": ledger().identity}}
    assert [buy(shops, "iproyal", given, key)["order_id"] for key in ("a", "b", "c")][:2] == orders
    assert len(shops.bought("iproyal")) == 3


def test_the_mark_of_an_older_version_names_the_key_alone(shops: Shops, go_to: Callable[[str], None]) -> None:
    given = context()
    order = buy(shops, "iproyal", given)
    given["task_state_store"].kept = {MARK: "k"}
    assert buy(shops, "iproyal", given) == order
    go_to("elsewhere")
    with pytest.raises(LedgerError, match="lacks 'k'"):
        buy(shops, "iproyal", given)


def test_a_state_that_cannot_be_read_is_no_proof(shops: Shops, go_to: Callable[[str], None]) -> None:
    class Silent(StateStore):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("the API server is away")

    given = {**context(), "task_state_store": Silent()}
    with pytest.raises(LedgerError, match="cannot tell whether an earlier one bought.*buys nothing") as error:
        buy(shops, "iproyal", given)
    assert error.value.retry == "soon" and shops.bought("iproyal") == []
    order = buy(shops, "iproyal", context())
    assert buy(shops, "iproyal", given) == order, "this ledger has the key, so it is the one"


def test_it_costs_one_look_a_purchase(shops: Shops) -> None:
    """A purchase without an earlier try asks Airflow as often as before: once to read, once to write."""
    asked: list[str] = []

    class Counting(StateStore):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    buy(shops, "iproyal", {**context(), "task_state_store": Counting()})
    assert asked == [MARK]


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    close()

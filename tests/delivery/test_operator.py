"""Delivering to a file, against the sandbox: the goods are in the file and nowhere else."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.log import redact
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.errors import ConfigError, OrderPending
from airflow_provider_proxyorders.hooks.masking import MOST_MASKED, mask
from airflow_provider_proxyorders.operators.delivery import DeliverProxiesOperator, read_delivery, store
from tests.hooks.connections import REQUESTS, VENDORS, Shops
from tests.vendors import ROWS

FRESH = Asset("some_fresh_delivery")
EXPIRY = {name: row.expires for name, row in ROWS.items()}


def bought(shops: Shops, vendor: str) -> tuple[str, Delivery]:
    """Id and goods of an order that is ready."""
    hook = shops.hook(vendor)
    order = hook.create_order(REQUESTS[vendor], order_key=f"{vendor}-key")
    assert order.order_id is not None
    return order.order_id, hook.get_delivery(order.order_id)


def run(operator: DeliverProxiesOperator) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The result of the task and the extra of its asset event."""
    events = OutletEventAccessors()
    result = operator.execute({"outlet_events": events})  # type: ignore[arg-type,typeddict-item]
    return result, events[FRESH].extra


def deliver(vendor: str, order_id: str, path: Path | str, **options: Any) -> DeliverProxiesOperator:
    options.setdefault("outlets", [FRESH])
    return DeliverProxiesOperator(task_id="d", conn_id=f"{vendor}_default", order_id=order_id, path=str(path), **options)


class NeedyStore(LocalFileSystem):
    """A store that wants an Airflow connection, as those of Airflow's providers do."""

    def __init__(self, **_options: Any):
        raise AirflowNotFoundException("The conn_id `missing` isn't defined")


@pytest.fixture
def needy_store() -> None:
    fsspec.register_implementation("needy", NeedyStore, clobber=True)


@pytest.mark.parametrize("vendor", VENDORS)
class TestEveryVendor:
    def test_the_file_holds_the_goods_and_the_task_hands_on_numbers(
        self, shops: Shops, vendor: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        order_id, goods = bought(shops, vendor)
        path = tmp_path / "made" / "goods.txt"
        result, extra = run(deliver(vendor, order_id, path))
        content = path.read_bytes()
        assert content.decode().splitlines() == [*(proxy.url for proxy in goods.proxies), *goods.codes]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert os.listdir(path.parent) == ["goods.txt"]
        assert (result["path"], result["format"], result["order_id"]) == (str(path), "url", order_id)
        assert (result["count"], result["skipped"], result["health"]) == (goods.count, 0, None)
        assert result["sha256"] == sha256(content).hexdigest()
        assert (result["expires_at"] is not None) == EXPIRY[vendor]
        assert extra == result == json.loads(json.dumps(result))
        said = capfd.readouterr()  # Airflow's own logging goes there
        assert f"{goods.count} entries written to" in said.out
        shown = json.dumps(result) + caplog.text + said.out + said.err
        assert not [secret for secret in goods.secrets() if secret in shown]

    def test_a_retry_writes_the_same_file(self, shops: Shops, vendor: str, tmp_path: Path) -> None:
        order_id, _ = bought(shops, vendor)
        path = tmp_path / "goods.jsonl"
        first, _ = run(deliver(vendor, order_id, path, format="jsonl"))
        path.chmod(0o644)
        second, _ = run(deliver(vendor, order_id, path, format="jsonl"))
        assert first == second
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(shops.bought(vendor)) == 1

    def test_the_next_task_reads_it_with_its_own_masker_told(self, shops: Shops, vendor: str, tmp_path: Path) -> None:
        order_id, goods = bought(shops, vendor)
        result, _ = run(deliver(vendor, order_id, tmp_path / "goods", format="jsonl"))
        redact_nothing_yet()
        read = read_delivery(result["path"], result["format"])
        assert (read.proxies, read.codes) == (goods.proxies, goods.codes)
        assert not [secret for secret in goods.secrets() if secret in str(redact(f"it is {secret}"))]


def redact_nothing_yet() -> None:
    """As a new process begins."""
    from airflow.sdk._shared.secrets_masker import _secrets_masker

    _secrets_masker().reset_masker()


class TestWriting:
    def test_any_store_that_airflow_knows(self, shops: Shops) -> None:
        from airflow.sdk.io import attach
        from fsspec.implementations.memory import MemoryFileSystem

        attach("memory", fs=MemoryFileSystem())
        order_id, goods = bought(shops, "iproyal")
        result, _ = run(deliver("iproyal", order_id, "memory://bucket/deep/goods.txt"))
        assert MemoryFileSystem().cat("/bucket/deep/goods.txt").decode().split() == [proxy.url for proxy in goods.proxies]
        assert read_delivery(result["path"], result["format"]).count == goods.count

    @pytest.mark.parametrize("scheme", ["", "file://", "local://"])
    def test_this_machine_by_each_of_its_names(self, tmp_path: Path, scheme: str) -> None:
        store(f"{scheme}{tmp_path}/a b/manual__2026-01-01T00:00:00+00:00.txt", b"x")
        path = tmp_path / "a b" / "manual__2026-01-01T00:00:00+00:00.txt"
        assert path.read_bytes() == b"x" and stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_disk_that_fails_leaves_the_old_file_and_no_draft(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "goods"
        path.write_bytes(b"old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space.*nothing was bought. Make room"):
            store(str(path), b"new")
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["goods"]


class TestTooLittle:
    def test_an_order_without_goods_yet_leaves_the_file_alone(self, shops: Shops, tmp_path: Path) -> None:
        shops.connect("iproyal")
        shops.box.control({"vendor": "iproyal", "order": {"id": 7001, "status": "in-progress", "quantity": 2}})
        path = tmp_path / "goods"
        path.write_bytes(b"old")
        with pytest.raises(OrderPending, match=r"still .in-progress.*yields nothing yet.*buys nothing") as error:
            run(deliver("iproyal", "7001", path))
        assert error.value.retry == "later"
        assert path.read_bytes() == b"old"

    def test_at_least(self, shops: Shops, tmp_path: Path) -> None:
        order_id, goods = bought(shops, "voodoo")
        with pytest.raises(OrderPending, match="at_least=3"):
            run(deliver("voodoo", order_id, tmp_path / "goods", at_least=goods.count + 1))
        assert run(deliver("voodoo", order_id, tmp_path / "goods", at_least=goods.count))[0]["count"] == goods.count

    def test_bad_entries_are_counted_and_said(self, shops: Shops, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        shops.connect("voodoo")
        shops.box.control({"vendor": "voodoo", "order": {"id": "o-1", "quantity": 3, "codes": ["AAAA-BBBB", None, 17]}})
        result, _ = run(deliver("voodoo", "o-1", tmp_path / "goods"))
        assert (result["count"], result["skipped"]) == (1, 2)
        assert "2 entries of the vendor's list could not be read" in capfd.readouterr().out

    def test_a_format_that_cannot_hold_the_goods(self, shops: Shops, tmp_path: Path) -> None:
        order_id, _ = bought(shops, "voodoo")
        with pytest.raises(ConfigError, match="yielded codes"):
            run(deliver("voodoo", order_id, tmp_path / "goods", format="requests"))
        assert not (tmp_path / "goods").exists()


class TestUnwritable:
    """Errors of others in our form: what became of the money, what to do, and no try that cannot help."""

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("{tmp}/a-file/goods", "Not a directory|File exists"),
            ("{tmp}/a-folder", "Is a directory"),
            ("/dev/null", "device"),
            ("{tmp}/" + "x" * 300, "File name too long"),
            ("s3://aws_default@bucket/goods", "s3"),
            ("nowhere://bucket/goods", "nowhere"),
            ("needy://missing@bucket/goods", "conn_id `missing`"),
        ],
    )
    def test_is_told_once(self, shops: Shops, needy_store: None, tmp_path: Path, path: str, why: str) -> None:
        (tmp_path / "a-file").write_text("")
        (tmp_path / "a-folder").mkdir()
        order_id, _ = bought(shops, "voodoo")
        with pytest.raises(ConfigError, match=f"cannot be written to .*({why}).*The order is paid.*nothing was bought") as error:
            run(deliver("voodoo", order_id, path.format(tmp=tmp_path)))
        assert error.value.retry == "never" and "\n" not in str(error.value)


class TestUnreadable:
    """The reader runs in tasks of the user, without our retry policy: its errors end any task at once."""

    @pytest.mark.parametrize(
        ("path", "format", "why"),
        [
            ("s3://aws_default@bucket/goods", "url", r"cannot be read from s3://.*s3fs.*Nothing was sent\. Install the store's"),
            ("nowhere://bucket/goods", "url", r"cannot be read from nowhere://.*'nowhere'\. Nothing was sent\."),
            ("needy://missing@bucket/goods", "url", "conn_id `missing` .*or correct path"),
            ("{tmp}/bytes", "url", "other bytes than UTF-8"),
            ("{tmp}/lines", "jsonl", "line 1 breaks the format"),
        ],
    )
    def test_is_told_once(self, needy_store: None, tmp_path: Path, path: str, format: str, why: str) -> None:
        (tmp_path / "bytes").write_bytes(b"\xff")
        (tmp_path / "lines").write_text("http://u:secret@203.0.113.7:80\n")
        with pytest.raises(ConfigError, match=why) as error:
            read_delivery(path.format(tmp=tmp_path), format)
        assert isinstance(error.value, AirflowFailException) and error.value.retry == "never"
        assert "\n" not in str(error.value) and "secret" not in str(error.value)

    def test_a_file_may_come_later(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_delivery(str(tmp_path / "later"))


class TestHealth:
    def test_all_answer(self, shops: Shops, tmp_path: Path) -> None:
        order_id, goods = bought(shops, "iproyal")
        result, extra = run(deliver("iproyal", order_id, tmp_path / "goods", check_url=shops.box.whoami, at_least=2))
        health = result["health"]
        assert (health["checked"], health["healthy"], health["silent"]) == (2, 2, 0) and health["median_ms"] >= 0
        assert extra["health"] == health
        assert shops.box.book.count("forward", "http") == len(goods.proxies)

    def test_dead_proxies_of_an_order_that_is_processed_are_seen(self, shops: Shops, tmp_path: Path) -> None:
        order_id, _ = bought(shops, "iproyal")
        page = "http://127.0.0.1:1/nobody-listens"
        with pytest.raises(OrderPending, match=r"0 of 2 answer, 2 bring an error.*was not written"):
            run(deliver("iproyal", order_id, tmp_path / "goods", check_url=page))
        assert not (tmp_path / "goods").exists()

    def test_codes_are_not_checked(self, shops: Shops, tmp_path: Path) -> None:
        order_id, goods = bought(shops, "voodoo")
        result, _ = run(deliver("voodoo", order_id, tmp_path / "goods", check_url=shops.box.whoami))
        assert (result["count"], result["health"]) == (goods.count, None)


class TestMasking:
    def test_a_password_is_hidden_as_a_url_writes_it_too(self) -> None:
        proxy = Proxy("203.0.113.7", 1, "u", "p/w:with@odd%letters")
        mask(Delivery("1", (proxy,)))
        assert proxy.url.partition("u:")[2].partition("@")[0] not in str(redact(f"calling {proxy.url} now"))

    def test_a_thousand_codes_do_not_hold_the_task_up(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Airflow's masker would take half a minute over them, and another one in the process above the task."""
        registered: list[Any] = []
        monkeypatch.setattr("airflow.sdk.log.mask_secret", registered.append)
        mask(Delivery("1", codes=tuple(f"CODE-{number}/x" for number in range(1000))))
        (secrets,) = registered
        assert len(secrets) == 2 * MOST_MASKED and secrets[:2] == ["CODE-0/x", "CODE-0%2Fx"]
        assert "1000 different" in caplog.text and "CODE-0" not in caplog.text

    def test_no_argument_has_a_name_whose_value_airflow_would_hide(self) -> None:
        """A hidden value becomes *** in every log line of the task, whatever it is about."""
        from airflow.sdk.log import redact as hide

        for name in DeliverProxiesOperator.template_fields:
            assert hide({name: "plain"}) == {name: "plain"}


@pytest.mark.parametrize(
    "wrong",
    [{"format": "xml"}, {"at_least": 0}, {"check_timeout": 0}, {"check_at_once": -1}, {"check_url": "example.com"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_mistake_shows_when_the_dag_is_parsed(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        deliver("iproyal", "1", "goods", **wrong)

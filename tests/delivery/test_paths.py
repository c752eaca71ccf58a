"""Where a delivery goes: a path means the same for each task, and what it cannot mean is refused before the order is read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from airflow_provider_proxyorders.delivery.file import whole_path, write_atomically
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.operators import DeliverProxiesOperator, read_delivery
from airflow_provider_proxyorders.operators.delivery import page_of, store
from tests.hooks.connections import Shops

from .test_operator import bought, deliver, run


def test_home_and_the_folder_of_the_worker(shops: Shops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    order_id, goods = bought(shops, "iproyal")
    for path, whole in {"~/p.txt": tmp_path / "home/p.txt", "sub/../p.txt": tmp_path / "p.txt"}.items():
        result, _ = run(deliver("iproyal", order_id, path))
        assert result["path"] == str(whole) and len(whole.read_text().split()) == goods.count
    assert read_delivery("~/p.txt").count == goods.count
    assert whole_path("file://p.txt") == f"file://{tmp_path}/p.txt"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("$HOME/p.txt", "variables of the shell; use a template"),
        ("/data/${FOLDER}/p.txt", "variables of the shell"),
        ("s3://bucket/$FOLDER/p.txt", "variables of the shell"),
        ("~no-such-user/p.txt", "unknown user"),
        ("/data/", "must name a file"),
        ("s3://bucket/folder/", "must name a file"),
        ("s3://aws_default@bucket", "must name a file"),
    ],
)
def test_what_no_task_can_use_is_refused_before_the_order_is_read(shops: Shops, path: str, rule: str) -> None:
    shops.connect("iproyal")
    with pytest.raises(InvalidParameter, match=rf"^path .*{rule}.*For example: '/var/proxies/fresh.txt'"):
        run(deliver("iproyal", "7001", path))
    assert shops.looked_up == []


def test_a_price_in_the_name_is_no_variable() -> None:
    assert whole_path("/data/5$/a$.txt") == "/data/5$/a$.txt"


class TestLinks:
    def test_the_file_behind_a_link_is_replaced_and_the_link_stays(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        old, link, chain = tmp_path / "data" / "p.txt", tmp_path / "link", tmp_path / "chain"
        old.write_text("old")
        link.symlink_to("data/p.txt")
        chain.symlink_to(link)
        store(str(chain), b"new")
        assert (old.read_text(), os.readlink(chain), os.readlink(link)) == ("new", str(link), "data/p.txt")
        assert stat.S_IMODE(old.stat().st_mode) == 0o600 and os.listdir(tmp_path / "data") == ["p.txt"]

    def test_a_link_to_a_missing_file_makes_it(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "later" / "p.txt")
        write_atomically(str(tmp_path / "link"), b"new")
        assert (tmp_path / "later" / "p.txt").read_bytes() == b"new" and (tmp_path / "link").is_symlink()

    @pytest.mark.skipif(os.geteuid() != 0, reason="makes a link of another user")
    def test_a_link_of_another_user_in_a_folder_for_all_is_refused(self, tmp_path: Path) -> None:
        mine, folder = tmp_path / "mine", tmp_path / "tmp"
        mine.write_text("mine")
        folder.mkdir()
        folder.chmod(0o1777)
        (folder / "p.txt").symlink_to(mine)
        os.chown(folder / "p.txt", 65534, 65534, follow_symlinks=False)
        with pytest.raises(ConfigError, match="a link of another user in a folder that all can write to"):
            store(str(folder / "p.txt"), b"secret")
        assert mine.read_text() == "mine"

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "b")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        with pytest.raises(ConfigError, match="Too many levels"):
            store(str(tmp_path / "a"), b"x")


def test_a_file_that_is_mounted_alone_says_what_to_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: str) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(ConfigError, match="busy.*nothing was bought. A file that is mounted alone.*mount its folder"):
        store(str(tmp_path / "p.txt"), b"x")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["http://localhost:8090/ip", "https://[2001:db8::1]/?a=b", " https://example.com "])
def test_an_address_of_a_page(url: str) -> None:
    assert page_of(url) == url.strip()


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://example.com/", "http://", "http://:80/", "http://a:b:c", "http://[::1", "http://a b/", 7]
)
def test_any_other_address_is_refused_when_the_dag_file_is_read(url: object) -> None:
    with pytest.raises(InvalidParameter, match="^check_url must be the address of a web page"):
        DeliverProxiesOperator(task_id="d", conn_id="c", order_id="1", path="/p", check_url=url)  # type: ignore[arg-type]


def test_an_address_from_a_template_is_checked_before_the_order_is_read(shops: Shops) -> None:
    shops.connect("iproyal")
    task = deliver("iproyal", "7001", "/p", check_url="{{ params.page }}")
    task.check_url = "no page"
    with pytest.raises(InvalidParameter, match="check_url"):
        run(task)
    assert shops.bought("iproyal") == shops.looked_up == []

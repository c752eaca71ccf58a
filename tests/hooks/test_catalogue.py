"""Voodoo's catalogue: a file on another host, kept for a while, priced where a setting says how, and no part of a purchase."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lmdb
import pytest
import zstandard

from airflow_provider_proxyorders.catalogue import unpacking
from airflow_provider_proxyorders.domain.errors import (
    ConfigError,
    InvalidRequest,
    ProxyOrdersError,
    UnreadableAnswer,
    UnsupportedOperation,
    VendorUnavailable,
)
from airflow_provider_proxyorders.hooks.proxyorders import VoodooHook
from airflow_provider_proxyorders.transport import download

from .connections import REQUESTS, Shops

#: The names in the sandbox's entries.
NAMES = {
    "catalogue_price_field": "price",
    "catalogue_type_field": "product_type",
    "catalogue_least_field": "min_quantity",
    "catalogue_most_field": "max_quantity",
}
KEYS, TOP_UP, SERVICE = 5120, 6001, 7007


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path / "proxyorders-catalogues"


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    """Airflow's own log of a hook goes to the output."""
    return capsys


def hook_of(shops: Shops, **extra: Any) -> VoodooHook:
    return VoodooHook(shops.connect("voodoo", extra=extra))


def downloads(shops: Shops) -> int:
    return shops.box.book.count("voodoo", "catalogue")


class TestProducts:
    def test_an_entry_is_as_the_file_has_it_and_names_its_item(self, shops: Shops) -> None:
        hook = hook_of(shops)
        products = hook.get_products()
        assert [product["item_id"] for product in products] == [KEYS, TOP_UP, SERVICE]
        keys, top_up, _ = products
        assert (keys["product_type"], keys["price"], keys["stock"]) == ("key", Decimal("4.5"), 250)
        assert top_up["fields"][1]["choices"][3] == {"id": 4, "name": "Asia"}
        assert list(hook.iter_products()) == products
        assert hook.get_product(TOP_UP) == top_up and hook.get_product(1) is None

    def test_it_is_kept_and_its_age_is_said(self, shops: Shops, folder: Path, log: pytest.CaptureFixture[str]) -> None:
        hook_of(shops).get_products()
        (copy,) = folder.iterdir()
        os.utime(copy, (copy.stat().st_mtime - 600,) * 2)
        log.readouterr()
        assert len(hook_of(shops).get_products()) == 3
        assert downloads(shops) == 1
        assert re.search(r"catalog\.lmdb\.zst, downloaded 60\d s ago, 3 items", log.readouterr().out)
        os.utime(copy, (copy.stat().st_mtime - 3000,) * 2)
        hook_of(shops, catalogue_max_age=7200).get_products()
        assert downloads(shops) == 1
        hook_of(shops).get_products()
        assert downloads(shops) == 2
        assert len(list(folder.iterdir())) == 1 and folder.stat().st_mode & 0o777 == 0o700

    def test_a_copy_of_the_future_is_not_used(self, shops: Shops, folder: Path) -> None:
        hook_of(shops).get_products()
        (copy,) = folder.iterdir()
        os.utime(copy, (copy.stat().st_mtime + 9000,) * 2)
        hook_of(shops).get_products()
        assert downloads(shops) == 2

    def test_what_nothing_uses_any_more_is_deleted(self, shops: Shops, folder: Path) -> None:
        folder.mkdir()
        for name, days in (("old.lmdb", 8), ("killed.part", 8), ("young.part", 1)):
            (folder / name).write_bytes(b"x")
            os.utime(folder / name, ((folder / name).stat().st_mtime - days * 86400,) * 2)
        hook_of(shops).get_products()
        assert {path.suffix for path in folder.iterdir()} == {".part", ".lmdb"} and len(list(folder.iterdir())) == 2

    def test_a_client_id_has_its_own_prices(self, shops: Shops, log: pytest.CaptureFixture[str]) -> None:
        shops.box.control({"vendor": "voodoo", "personal_catalogue": {"client_id": "c-1", "prices": {str(KEYS): "4.10"}}})
        own, other = (
            hook_of(shops, catalogue_client_id="c-1"),
            VoodooHook(shops.connect("voodoo", "other", extra={"catalogue_client_id": "c-2"})),
        )
        product = own.get_product(KEYS)
        assert product is not None and product["price"] == Decimal("4.1") and "c-1.lmdb.zst" in log.readouterr().out
        assert downloads(shops) == 1
        product = other.get_product(KEYS)
        assert product is not None and product["price"] == Decimal("4.5") and "catalog.lmdb.zst" in log.readouterr().out
        assert downloads(shops) == 3, "after a 404 the file for all is asked for"
        assert other.get_product(KEYS) == product
        assert downloads(shops) == 3

    @pytest.mark.parametrize("wrong", ["a/b", "..", "a b", "x" * 101, "é"])
    def test_a_client_id_is_one_name(self, shops: Shops, wrong: str) -> None:
        with pytest.raises(ConfigError, match=r"catalogue_client_id must be.*Nothing was sent"):
            hook_of(shops, catalogue_client_id=wrong).get_products()
        assert downloads(shops) == 0

    @pytest.mark.parametrize("address", ["http://downloads.example.com", "ftp://x", "https://a:b@x.example", "https://x?y", "x"])
    def test_the_address_follows_the_rule_of_hosts(self, shops: Shops, address: str) -> None:
        with pytest.raises(ConfigError, match=r"catalogue_url must be.*Nothing was sent"):
            hook_of(shops, catalogue_url=address).get_products()

    def test_without_the_library_it_is_refused_in_one_sentence(self, shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(ConfigError, match=r"Nothing was sent.*\[voodoo-catalogue\]") as refused:
            hook_of(shops).get_products()
        assert "\n" not in str(refused.value) and shops.box.book.count("voodoo") == 0

    def test_a_folder_that_cannot_be_made(self, shops: Shops, folder: Path) -> None:
        folder.write_text("a file is there")
        with pytest.raises(ConfigError, match=r"cannot be kept in .*This call moves no money"):
            hook_of(shops).get_products()


class TestQuotes:
    def test_no_field_is_guessed(self, shops: Shops) -> None:
        with pytest.raises(UnsupportedOperation, match=r"Nothing was sent.*catalogue_price_field"):
            hook_of(shops).quote(REQUESTS["voodoo"])
        assert shops.box.book.count("voodoo") == 0

    @pytest.mark.parametrize(
        ("request_", "price"),
        [
            ({"item_id": KEYS, "quantity": 3}, "13.5"),
            ({"item_id": KEYS}, "4.5"),
            ({"item_id": TOP_UP, "quantity": 12.5}, "12.5"),
            ({"item_id": SERVICE, "fields": {"account": "a"}}, "9"),
        ],
    )
    def test_the_price_of_the_entry_is_that_of_the_purchase(self, shops: Shops, request_: dict[str, Any], price: str) -> None:
        quote = hook_of(shops, **NAMES).quote(request_)
        assert (quote.price.amount, quote.price.currency) == (Decimal(price), "USD")
        assert quote.details["catalogue"] == "catalog.lmdb.zst" and quote.details["age of the catalogue"] == "0 s"
        assert "not checked" not in quote.details
        only = hook_of(shops, catalogue_price_field="price").quote(request_)
        assert only.price == quote.price
        assert only.details["not checked"] == "product type, least quantity, greatest quantity"

    @pytest.mark.parametrize(
        ("request_", "rule"),
        [
            ({"item_id": KEYS, "quantity": 1.5}, "whole number for keys"),
            ({"item_id": KEYS, "quantity": 101}, "at most 100"),
            ({"item_id": KEYS, "quantity": 0.5}, "whole number"),
            ({"item_id": TOP_UP, "fields": {}}, "required for a top-up"),
            ({"item_id": TOP_UP, "quantity": 0.5, "fields": {}}, "at least 1"),
            ({"item_id": SERVICE, "quantity": 1}, "left out for a service"),
            ({"item_id": 1}, "an item of the catalogue"),
        ],
    )
    def test_a_purchase_that_the_vendor_would_refuse_has_no_price(
        self, shops: Shops, request_: dict[str, Any], rule: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=rule):
            hook_of(shops, **NAMES).quote(request_)

    @pytest.mark.parametrize("field", ["prize", "fields", "name"])
    def test_a_field_without_an_amount(self, shops: Shops, field: str) -> None:
        with pytest.raises(UnreadableAnswer, match=rf"no amount in its field '{field}'"):
            hook_of(shops, catalogue_price_field=field).quote({"item_id": KEYS})


def test_a_purchase_never_asks_for_it(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    hook = hook_of(shops, **NAMES, catalogue_client_id="c-1", catalogue_url="https://unreachable.invalid")
    assert hook.create_order(REQUESTS["voodoo"], order_key="k").order_id
    assert downloads(shops) == 0 and len(shops.bought("voodoo")) == 1


# -- files that are none -----------------------------------------------------------------------------------------------


class Files:
    """A host with files and nothing else. It notes the headers of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                files.asked.append((self.path, dict(self.headers)))
                status, body, headers = files.answers.get(self.path, (404, b"", {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def put(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.answers["/catalog.lmdb.zst"] = (status, body, headers)


@pytest.fixture
def files() -> Iterator[Files]:
    served = Files()
    yield served
    served.server.shutdown()
    served.server.server_close()


def database(path: Path, entries: dict[bytes, bytes]) -> bytes:
    with lmdb.open(str(path / "made.lmdb"), subdir=False, lock=False, map_size=2**28) as made, made.begin(write=True) as writing:
        for key, value in entries.items():
            writing.put(key, value)
    return (path / "made.lmdb").read_bytes()


def item(number: int) -> bytes:
    return struct.pack(">Q", number)


class TestOddFiles:
    @pytest.fixture
    def whole(self, tmp_path: Path) -> bytes:
        return database(tmp_path, {item(n): b'{"price":1.5,"pad":"%s"}' % os.urandom(40).hex().encode() for n in range(1, 400)})

    def refused(self, shops: Shops, files: Files, folder: Path) -> ProxyOrdersError:
        with pytest.raises(ProxyOrdersError) as refused:
            hook_of(shops, catalogue_url=files.url).get_products()
        assert "moves no money" in str(refused.value) and refused.value.money == "untouched"
        assert not folder.exists() or list(folder.iterdir()) == [], "nothing of it is kept"
        return refused.value

    def test_each_way_to_be_another_file(self, shops: Shops, files: Files, folder: Path, whole: bytes, tmp_path: Path) -> None:
        packed = zstandard.compress(whole)
        for content, reason in [
            (b"", "without its end"),
            (packed[:-1], "without its end"),
            (packed[: len(packed) // 2], "without its end"),
            (whole, "no file that zstd packed"),
            (b"<html>not here</html>", "no file that zstd packed"),
            (packed + b"more", "no file that zstd packed"),
            (zstandard.compress(b"text " * 9000), "no LMDB file"),
            (zstandard.compress(b"x"), "no LMDB file"),
            (zstandard.compress(b""), "without its end"),
            (zstandard.compress(whole[: len(whole) // 2]), "of which .* are there"),
            (zstandard.compress(whole[:8192] + bytes(len(whole) - 8192)), "damage"),
            (zstandard.compress(database(tmp_path, {b"1234": b"{}"})), "key of 4 bytes, expected are 8"),
        ]:
            files.put(content)
            error = self.refused(shops, files, folder)
            assert isinstance(error, UnreadableAnswer)
            assert re.search(reason, str(error)), (reason, error)

    def test_a_bomb(self, shops: Shops, files: Files, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unpacking, "MOST_UNPACKED", 40 * 1024 * 1024)
        files.put(zstandard.compress(bytes(60 * 1024 * 1024)))
        assert "more than 41943040 bytes when unpacked" in str(self.refused(shops, files, folder))

    def test_a_file_that_wants_too_much_memory(self, shops: Shops, files: Files, folder: Path) -> None:
        wide = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
        packing = zstandard.ZstdCompressor(compression_params=wide).compressobj()
        files.put(packing.compress(b"x" * 4096) + packing.flush())
        assert "no file that zstd packed" in str(self.refused(shops, files, folder))

    def test_a_long_download(
        self, shops: Shops, files: Files, folder: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(download, "LARGEST_FILE", 1000)
        files.put(zstandard.compress(whole))
        assert "catalog.lmdb.zst is longer than 1000 bytes" in str(self.refused(shops, files, folder))
        assert len(files.asked) == 1

    @pytest.mark.parametrize("status", [403, 404, 204, 302])
    def test_no_file_is_there(self, shops: Shops, files: Files, folder: Path, status: int) -> None:
        files.put(b"", status, **({"Location": "https://new.example.com/x"} if status == 302 else {}))
        with pytest.raises(VendorUnavailable, match=rf"answered {status}.*purchases work without") as refused:
            hook_of(shops, catalogue_url=files.url, catalogue_client_id="c-1").get_products()
        assert ("https://new.example.com/x" in str(refused.value)) == (status == 302)
        assert [path for path, _ in files.asked] == ["/c-1.lmdb.zst", "/catalog.lmdb.zst"]
        assert list(folder.iterdir()) == []

    def test_a_file_in_several_parts_and_one_without_entries(
        self, shops: Shops, files: Files, whole: bytes, tmp_path: Path
    ) -> None:
        files.put(zstandard.compress(whole[:10_000]) + zstandard.compress(whole[10_000:]))
        assert len(hook_of(shops, catalogue_url=files.url).get_products()) == 399

    def test_a_catalogue_without_items(self, shops: Shops, files: Files, tmp_path: Path) -> None:
        files.put(zstandard.compress(database(tmp_path, {})))
        assert hook_of(shops, catalogue_url=files.url).get_products() == []

    def test_an_odd_entry_is_left_out_and_named(
        self, shops: Shops, files: Files, tmp_path: Path, log: pytest.CaptureFixture[str]
    ) -> None:
        odd = [b"", b"[]", b"null", b"{", b"\xff\xfe", b"NaN", b"[" * 20000, b"7", b'"text"', b"{}{}", b"<x>", b"true"]
        good = {"price": "N/A", "text": "a\x1b[31m{{ conn.x }}", "deep": [[[]]], "item_id": 9}
        entries = {item(n): value for n, value in enumerate(odd, 1)} | {item(2**63): json.dumps(good).encode()}
        files.put(zstandard.compress(database(tmp_path, entries)))
        hook = hook_of(shops, catalogue_url=files.url, catalogue_price_field="price")
        (product,) = hook.get_products()
        assert product["item_id"] == 2**63, "the key names the item"
        assert "\x1b" not in product["text"] and "{{" not in product["text"]
        assert "left out, since they cannot be read: items 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more" in log.readouterr().out
        for item_id in (1, 2, 7):
            with pytest.raises(UnreadableAnswer, match="moves no money"):
                hook.quote({"item_id": item_id})

    def test_the_host_of_the_files_sees_no_key(self, shops: Shops, files: Files, whole: bytes) -> None:
        files.put(zstandard.compress(whole))
        hook = hook_of(shops, catalogue_url=files.url)
        hook.get_balance()
        hook.get_products()
        ((_, headers),) = files.asked
        assert {name.lower() for name in headers} == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert shops.box.token("voodoo") not in str(headers)

"""The look-up of senders: made-up names of an attacker cannot delay or push out a proven connection."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.ledger.inbox import open_inbox
from airflow_provider_proxyorders.vendors import Vendor
from airflow_provider_proxyorders.vendors.voodoo import Voodoo
from airflow_provider_proxyorders.webhooks import senders as module
from airflow_provider_proxyorders.webhooks.receiver import Receiver
from airflow_provider_proxyorders.webhooks.senders import Busy, Senders, Unknown
from tests.ledgers import sqlite_ledger

from .conftest import SCHEME, SECRET, webhook_body


class Backend:
    """Slow connections, and the clock of their age."""

    def __init__(self, **secrets: str) -> None:
        self.secrets, self.asked, self.now = secrets, list[str](), 0.0
        self.stuck, self.fails = threading.Event(), False
        self.stuck.set()

    def look_up(self, conn_id: str) -> Vendor:
        self.asked.append(conn_id)
        if conn_id not in self.secrets:
            self.stuck.wait(30)
            raise ConfigError("there is none")
        if self.fails:
            raise OSError("the backend is away")
        settings = {"webhook_secret": self.secrets[conn_id]}
        return Voodoo(Account("voodoo", conn_id, f"voodoo:{conn_id}", "http://127.0.0.1", "ak_key", settings=settings))

    def senders(self) -> Senders:
        return Senders(self.look_up, lambda: self.now)


async def secret(senders: Senders, conn_id: str = "c", *, proves: bool = True, **how: bool) -> str | None:
    """The secret in force."""
    sender = await senders.find(conn_id, **how)
    if isinstance(sender, Unknown):
        return None
    if proves:
        senders.note_proven(sender)
    return sender.secrets[0]


async def looked_up_again(backend: Backend, before: int) -> None:
    for _ in range(200):
        if len(backend.asked) > before:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


def test_it_is_looked_up_once_for_many_and_again_when_it_is_old() -> None:
    backend = Backend(c="one")

    async def main() -> None:
        senders = backend.senders()
        assert set(await asyncio.gather(*(secret(senders) for _ in range(500)))) == {"one"}
        backend.secrets["c"], backend.now = "two", 9.9
        assert set(await asyncio.gather(*(secret(senders) for _ in range(500)))) == {"one"}
        assert backend.asked == ["c"], "one look-up for many webhooks"
        backend.now = 10.1
        assert await secret(senders) == "one", "served while it is looked up"
        await looked_up_again(backend, 1)
        assert set(await asyncio.gather(*(secret(senders) for _ in range(500)))) == {"two"}
        assert backend.asked == ["c"] * 2

    asyncio.run(main())


def test_a_secret_that_was_taken_out_stops_counting() -> None:
    backend = Backend(c="old")

    async def main() -> None:
        senders = backend.senders()
        assert await secret(senders) == "old"
        backend.secrets["c"], backend.now = "new", 30.1
        assert await secret(senders) == "new", "half a minute without a webhook: the old look-up is over"
        backend.fails, backend.now = True, 50.0
        assert await secret(senders) == "new", "the backend is away for a moment"
        backend.now = 60.2
        with pytest.raises(OSError, match="away"):
            await secret(senders)
        backend.fails = False
        del backend.secrets["c"]
        assert await secret(senders) is None
        backend.secrets["c"], backend.now = "again", 62.3
        assert await secret(senders) == "again"

    asyncio.run(main())


def test_an_unproven_name_is_looked_up_before_it_is_believed_again() -> None:
    backend = Backend(c="old")

    async def main() -> None:
        senders = backend.senders()
        assert await secret(senders, proves=False) == "old"
        backend.secrets["c"], backend.now = "new", 10.1
        assert await secret(senders, proves=False) == "new"

    asyncio.run(main())


def test_made_up_names_delay_no_proven_connection() -> None:
    """Every look-up of a made-up name hangs; the true connections are looked up all the same, and served meanwhile."""
    good = [f"c-{number}" for number in range(3)]
    backend = Backend(**dict.fromkeys(good, "s"))

    async def main() -> None:
        senders = backend.senders()
        for name in good:
            assert await secret(senders, name) == "s"
        backend.stuck.clear()
        flood = [asyncio.create_task(senders.find(f"nobody-{number}")) for number in range(500)]
        await asyncio.sleep(0.1)
        over = [task for task in flood if task.done()]
        assert len(over) == 500 - 64 and all(isinstance(task.exception(), Busy) for task in over), "told so at once"
        try:
            for moment in (10.1, 20.2, 50.3, 80.4):
                backend.now, before, began = moment, len(backend.asked), time.monotonic()
                assert [await secret(senders, name) for name in good] == ["s"] * 3
                assert time.monotonic() - began < 1.0
                await looked_up_again(backend, before)
            assert len([name for name in backend.asked if name in good]) == 3 * 5
        finally:
            backend.stuck.set()
            await asyncio.gather(*flood, return_exceptions=True)
        assert await secret(senders, "nobody-499") is None, "and it is over when it is over"

    asyncio.run(main())


def test_every_wait_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_UP_TIMEOUT", 0.2)
    backend = Backend()
    backend.stuck.clear()

    async def main() -> None:
        senders = backend.senders()
        with pytest.raises(Busy, match="the look-up takes longer than"):
            await senders.find("nobody")
        backend.stuck.set()
        monkeypatch.setattr(module, "LOOK_UP_TIMEOUT", 10.0)
        assert isinstance(await senders.find("nobody"), Unknown)
        assert backend.asked == ["nobody"], "the one that was begun is waited for"

    asyncio.run(main())


def test_made_up_names_push_out_no_proven_connection_and_are_soon_forgotten() -> None:
    backend = Backend(c="s")

    async def main() -> int:
        senders = backend.senders()
        assert await secret(senders) == "s"
        for number in range(2500):
            assert isinstance(await senders.find(f"nobody-{number}"), Unknown)
        assert isinstance(await senders.find("nobody-2499"), Unknown)
        assert await secret(senders) == "s"
        return len(senders._others)

    assert asyncio.run(main()) <= 1000 and len(backend.asked) == 2501


def test_many_names_of_one_connection_do_not_fill_the_memory() -> None:
    """The environment finds a connection in capitals and in small letters. Proving a name takes its secret."""
    names = [f"c-{number}" for number in range(1500)]
    backend = Backend(**dict.fromkeys(names, "s"))

    async def main() -> tuple[int, int]:
        senders = backend.senders()
        for name in names:
            assert await secret(senders, name, proves=False) == "s"
        assert await secret(senders, "c-1499") == "s"
        unproven = len(senders._proven), len(senders._others)
        for name in names:
            assert await secret(senders, name) == "s"
        assert len(senders._proven) == 1000
        return unproven

    proven, others = asyncio.run(main())
    assert proven == 1 and others <= 1000


def test_a_captured_delivery_under_many_spellings_is_one_webhook(tmp_path: Path) -> None:
    """The environment finds a connection under every spelling of its name."""
    spellings = {f"{number:012b}".replace("0", "v").replace("1", "V") for number in range(300)}
    backend, url, body = Backend(**dict.fromkeys(spellings, SECRET)), sqlite_ledger(tmp_path), webhook_body("o")
    odd = f"{'v' * 11}V"

    async def main() -> None:
        senders = backend.senders()
        receiver = Receiver(senders, lambda: open_inbox(url), rate=1.0, retention=30.0)
        answers = [await Post(name, body).to(receiver) for name in [odd, "v" * 12, *spellings]]
        assert answers[:4] == [200] * 4 and answers.count(429) > 270, "one limit for all of them"
        assert len(senders._proven) == 1
        assert await Post("another", body).to(receiver) == 200, "another connection has its own"
        await receiver._writer.close()  # type: ignore[union-attr]

    backend.secrets["another"] = SECRET
    asyncio.run(main())
    hints = open_inbox(url).since(0)
    assert [hint.conn_id for hint in hints] == [odd, "v" * 12, "another"]
    assert [hint.wallet for hint in hints[1:]] == [f"voodoo:{'v' * 12}", "voodoo:another"]


def test_a_vault_that_takes_one_sign_for_another_gives_no_second_limit(tmp_path: Path) -> None:
    spellings = [f"{number:08b}".replace("0", "-v").replace("1", "_v")[1:] for number in range(128)]
    backend, url, body = Backend(**dict.fromkeys(spellings, SECRET)), sqlite_ledger(tmp_path), webhook_body("o")

    async def main() -> None:
        senders = backend.senders()
        receiver = Receiver(senders, lambda: open_inbox(url), rate=1.0, retention=30.0)
        answers = [await Post(name, body).to(receiver) for name in spellings]
        assert answers.count(429) > 100 and len(senders._proven) == 1
        for name in (f"{spellings[0]} ", f" {spellings[0]}", f"{spellings[0]}\u00a0"):
            assert await Post(name, body).to(receiver) == 404
        await receiver._writer.close()  # type: ignore[union-attr]

    asyncio.run(main())


class Post:
    """One webhook by hand, to see whether the receiver asks for its body."""

    def __init__(self, conn_id: str, body: bytes = b"", secret: str = SECRET) -> None:
        self.conn_id, self.body, self.read, self.status = conn_id, body, 0, 0
        self.headers = [(name.encode(), value.encode()) for name, value in SCHEME.sign(body, secret).items()]

    async def to(self, receiver: Any, **scope: Any) -> int:
        asgi_scope = {"type": "http", "method": "POST", "path": f"/{self.conn_id}", "headers": self.headers, **scope}
        await receiver(asgi_scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> Mapping[str, Any]:
        self.read += 1
        return {"type": "http.request", "body": self.body}

    async def _send(self, message: Mapping[str, Any]) -> None:
        self.status = message.get("status", self.status)


def test_a_flood_of_made_up_names_is_refused_unread_and_true_webhooks_pass(tmp_path: Path) -> None:
    backend, url = Backend(c=SECRET), sqlite_ledger(tmp_path)

    async def main() -> None:
        receiver = Receiver(backend.senders(), lambda: open_inbox(url), rate=500.0, retention=30.0)
        assert await Post("c", webhook_body("first")).to(receiver) == 200
        backend.stuck.clear()
        posts = [Post(f"nobody-{number}", b"x" * 60_000) for number in range(300)]
        flood = [asyncio.create_task(post.to(receiver)) for post in posts]
        for _ in range(100):
            await asyncio.sleep(0.1)
            if [post.status for post in posts].count(503) == 300 - 64:
                break
        assert [post.status for post in posts].count(503) == 300 - 64
        backend.now, began = 60.0, time.monotonic()
        assert await Post("c", webhook_body("second")).to(receiver) == 200
        assert time.monotonic() - began < 3.0
        backend.stuck.set()
        assert sorted(set(await asyncio.gather(*flood))) == [401, 503]
        assert [post.read for post in posts].count(0) == 300 - 64
        await receiver._writer.close()  # type: ignore[union-attr]

    asyncio.run(main())
    assert [hint.order_id for hint in open_inbox(url).since(0)] == ["first", "second"]


def test_a_changed_secret_counts_at_once_for_its_signer(tmp_path: Path) -> None:
    backend, url = Backend(c="old"), sqlite_ledger(tmp_path)

    async def main() -> None:
        receiver = Receiver(backend.senders(), lambda: open_inbox(url), rate=500.0, retention=30.0)
        assert await Post("c", webhook_body("first"), "old").to(receiver) == 200
        backend.secrets["c"], backend.now = "new", 10.1
        assert await Post("c", webhook_body("second"), "new").to(receiver) == 200, "not refused by what is served meanwhile"
        assert await Post("c", webhook_body("third"), "old").to(receiver) == 401
        before = len(backend.asked)
        assert [await Post("c", webhook_body("x"), "guess").to(receiver) for _ in range(20)] == [401] * 20
        assert len(backend.asked) == before, "a forged one costs no look-up of its own"
        del backend.secrets["c"]
        backend.now = 40.3
        assert await Post("c", webhook_body("fourth"), "new").to(receiver) == 401
        await receiver._writer.close()  # type: ignore[union-attr]

    asyncio.run(main())
    assert [hint.order_id for hint in open_inbox(url).since(0)] == ["first", "second"]


@pytest.mark.parametrize("base", ["", "/air", "/team/air", "/p"])
@pytest.mark.parametrize("mount", ["", "/proxyorders/webhooks"])
def test_it_is_reached_below_a_base_path_whether_the_proxy_strips_it_or_not(tmp_path: Path, base: str, mount: str) -> None:
    """As Airflow mounts it, with the path of ``[api] base_url`` as ``root_path``."""
    backend, url = Backend(c=SECRET), sqlite_ledger(tmp_path)

    async def main() -> None:
        receiver = Receiver(backend.senders(), lambda: open_inbox(url), rate=500.0, retention=30.0)
        app: Any = receiver
        if mount:
            app = FastAPI(root_path=base)
            app.mount(mount, receiver)
        scope = {"query_string": b"", "root_path": "" if mount else base}
        for number, path in enumerate((f"{mount}/c", f"{base}{mount}/c", f"{base}{mount}/c/")):
            assert await Post("c", webhook_body(str(number))).to(app, path=path, **scope) == 200, path
        for path in (f"{base}{mount}/x/c", f"{mount}/x/c", f"{base}{mount}/", f"{base}{mount}"):
            assert await Post("c", webhook_body("deeper")).to(app, path=path, **scope) in (401, 404, 307), path
        await receiver._writer.close()  # type: ignore[union-attr]

    asyncio.run(main())
    assert [hint.order_id for hint in open_inbox(url).since(0)] == ["0", "1", "2"]

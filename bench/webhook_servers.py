"""The rivals of the receiver: bare apps with verification only, and hand-written ones with durable deliveries too.

The second kind is the limit: one INSERT for a group of deliveries, one commit, on one kept connection, and nothing else. All run
under the same server with the same options as the receiver. Arguments: which one, the port, the secret, the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from airflow_provider_proxyorders.ledger.inbox import open_inbox

Row = tuple[str, str, str, str, str, str, str, str]
Keep = Callable[[list[Row]], Awaitable[None]]


def genuine(secret: bytes, body: bytes, signature: str) -> bool:
    return hmac.compare_digest("sha256=" + hmac.digest(secret, body, "sha256").hex(), signature)


class Plain:
    """ASGI by hand.

    :param keep: makes rows durable; None only verifies.
    """

    def __init__(self, secret: str, keep: Keep | None):
        self._secret, self._keep = secret.encode(), keep
        self._gathered: list[tuple[Row, asyncio.Future[None]]] = []
        self._writing = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        signature = next((value.decode() for name, value in scope["headers"] if name == b"x-webhook-signature"), "")
        status = 200 if genuine(self._secret, body, signature) else 401
        if status == 200 and self._keep is not None:
            data = json.loads(body)
            digest = hashlib.sha256(body).hexdigest()
            now = datetime.now(timezone.utc).isoformat()
            row = (digest, scope["path"], "wallet", data["order_id"], data["merchant_order_id"], data["status"], now, now)
            done = asyncio.get_running_loop().create_future()
            self._gathered.append((row, done))
            if not self._writing:
                self._writing = True
                asyncio.get_running_loop().create_task(self._write(self._keep))
            await done
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, keep: Keep) -> None:
        while self._gathered:
            group, self._gathered = self._gathered, []
            await keep([row for row, _ in group])
            for _, done in group:
                done.set_result(None)
        self._writing = False


INSERT = (
    "INSERT INTO proxyorders_deliveries (digest, conn_id, wallet, order_id, reference, status, received_at, last_at, times) "
    "{} ON CONFLICT (digest) DO NOTHING"
)


def in_sqlite(path: str) -> Keep:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    cells = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(8))
    insert = INSERT.format(f"SELECT {cells}, 1 FROM json_each(?) WHERE true")

    def write(rows: list[Row]) -> None:
        connection.execute(insert, [json.dumps(rows)])  # quicker than a statement a row

    return lambda rows: asyncio.to_thread(write, rows)


def in_postgres(address: str) -> Keep:
    import psycopg

    opened: list[Any] = []
    cells = ", ".join(f"new ->> {place}" for place in range(8))
    insert = INSERT.format(f"SELECT {cells}, 1 FROM jsonb_array_elements(%s::jsonb) AS new")

    async def keep(rows: list[Row]) -> None:
        if not opened:
            opened.append(await psycopg.AsyncConnection.connect(address, autocommit=True))
        await opened[0].execute(insert, [json.dumps(rows)])

    return keep


def durable(url: str) -> Keep:
    """Into the same table with the same indexes as ours."""
    engine = open_inbox(url).engine
    engine.dispose()
    if engine.dialect.name == "sqlite":
        return in_sqlite(str(engine.url.database))
    return in_postgres(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))


def fastapi(secret: str) -> Any:
    app, key = FastAPI(), secret.encode()

    @app.post("/{conn_id}")
    async def take(conn_id: str, request: Request) -> Response:
        body = await request.body()
        return Response(status_code=200 if genuine(key, body, request.headers.get("x-webhook-signature", "")) else 401)

    return app


def main() -> None:
    name, port, secret, url = sys.argv[1:]
    if name == "fastapi":
        app = fastapi(secret)
    else:
        app = Plain(secret, durable(url) if url else None)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False, server_header=False, lifespan="off")


if __name__ == "__main__":
    main()

"""Engines of the ledger that have compiled their statements: the parent keeps them, and each child lets one work for its ledger.

Rule: what is kept is a cache of the database library. Connections, and the time of a database, are the child's own.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

#: By the word for a database in a plan.
_kept: dict[str, Any] = {}


def keep(urls: Mapping[str, str]) -> None:
    """In the parent: close all connections and keep the engines.

    :param urls: of the ledger in each database, by the word for it in a plan.
    """
    from airflow_provider_proxyorders.ledger.engine import close, engine_for

    close()
    _kept.update({kind: engine_for(url) for kind, url in urls.items()})


def adopt(kind: str, url: str) -> None:
    """In a child: have the kept engine work for this ledger."""
    from sqlalchemy import event, make_url

    from airflow_provider_proxyorders.ledger import clock, engine

    gc.disable()  # a child lives for seconds, and a collection would copy the parent's memory
    kept = _kept.get(kind)
    if kept is None:
        return
    kept.url = make_url(url)
    if kind == "sqlite":  # in PostgreSQL each connection is made as the engine's address says
        event.listen(kept, "do_connect", partial(_redirect, kept.url.database))
    clock.database_clock(kept)._reading = None
    engine._engines[url, os.getpid()] = kept


def _redirect(database: str, _dialect: Any, _record: Any, arguments: list[Any], _options: object) -> None:
    arguments[0] = database

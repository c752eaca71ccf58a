"""What is put around the package in a worker process: the marker, slow connects, another clock, and short waits.

Two rules: nothing here changes what the package decides or sends, but the marker's header; and what is shortened are pauses of
the package that are long because the real world is slow, in the proportion in which this world is fast.
"""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import sys
import time
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from ..crash.killpoints import after
from .plan import PACE, Plan
from .vendor import MARKER

#: Stands in the marker until the bytes leave.
UNSENT = "moment-of-departure-"
#: Seconds by which a sending is taken to last longer than three times the time limit; 5 s in the package.
MARGIN = 0.8 * PACE
#: Pauses before an answer is written to the ledger again, in seconds.
WRITE_PAUSES = (0.1, 0.4, 1.5)
#: Seconds for which a purchase has the turn on its wallet before it is sent; 120 s in the package.
TURN = 5.0 * PACE
#: Seconds for which a place in the line before the turn lasts; 15 s in the package.
TICKET = 2.0 * PACE
#: Seconds for which a line before the turn may stand until its waiters give up.
PATIENCE = 8.0 * PACE


_marked: dict[str, str] = {}


def mark(key: str) -> None:
    """Have every request tell whose it is, and when its first byte leaves: the moment is filled in as the bytes go out."""
    patched = bool(_marked)  # by the parent
    _marked["key"] = key
    if patched:
        return
    headers, sendall = http.client.HTTPConnection.endheaders, socket.socket.sendall

    def endheaders(connection: Any, *args: Any, **kwargs: Any) -> None:
        connection.putheader(MARKER, f"{_marked['key']}|{os.getpid()}|{UNSENT}")
        headers(connection, *args, **kwargs)

    def stamped(sock: socket.socket, data: Any, *args: Any) -> None:
        if isinstance(data, bytes) and UNSENT.encode() in data:
            data = data.replace(UNSENT.encode(), f"{time.monotonic():0{len(UNSENT)}.6f}".encode())
        sendall(sock, data, *args)

    http.client.HTTPConnection.endheaders = endheaders  # type: ignore[method-assign]
    socket.socket.sendall = stamped  # type: ignore[assignment,method-assign]


def slow_connects(plan: Plan, *what: object) -> None:
    """Let some look-ups of the vendor's name take long, or freeze the process."""
    dice: Random = plan.dice("connect", *what)
    stops_at = dice.randint(1, 7) if dice.random() < plan.storm.connect_stops else 0
    real, count = socket.getaddrinfo, itertools.count(1)

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        if next(count) == stops_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        if dice.random() < plan.storm.slow_connects:
            if dice.random() < 0.3:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                time.sleep(PACE * dice.choice((0.1, 0.5, 2.0, 6.0)))
        return real(*args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def stop_after_claim(plan: Plan, *what: object) -> None:
    """Let some processes stand still right after they wrote SENT, before they look at the clock for the last time."""
    from airflow_provider_proxyorders.ledger import Ledger

    if plan.dice("stop", *what).random() < plan.storm.stops:
        after(Ledger, "claim", lambda _: os.kill(os.getpid(), signal.SIGSTOP))


def hurry() -> None:
    """Shorten the package's own long waits; see :data:`MARGIN`."""
    from airflow_provider_proxyorders.ledger import leases
    from airflow_provider_proxyorders.ledger.writes import LedgerWrites
    from airflow_provider_proxyorders.purchase import sending

    def sending_time(account: Any) -> float:
        return float(3 * account.timeout + MARGIN)

    for name, module in list(sys.modules.items()):
        if name.startswith("airflow_provider_proxyorders.") and callable(getattr(module, "sending_time", None)):
            module.sending_time = sending_time  # type: ignore[attr-defined]
    sending.WRITE_PAUSES = WRITE_PAUSES
    leases.TURN, leases.TICKET = TURN, TICKET
    LedgerWrites.intend.__kwdefaults__["turn_seconds"] = TURN


def clock(skew: float) -> None:
    """Let this host's clock be ahead by some seconds."""
    from airflow_provider_proxyorders.ledger import clock

    clock.host_clock = lambda: datetime.now(timezone.utc) + timedelta(seconds=skew)

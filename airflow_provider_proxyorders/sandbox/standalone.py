"""The sandbox as a program: prints what to put into Airflow, serves until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Sequence

from airflow_provider_proxyorders.sandbox.faults import ACTIONS
from airflow_provider_proxyorders.sandbox.proxy_pool import HOST
from airflow_provider_proxyorders.sandbox.server import OWN, SandboxServer
from airflow_provider_proxyorders.sandbox.state import SandboxState

#: without a cap nothing is bought, so the printed connections carry one
_CAP = "100"


def serve(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    :param argv: the arguments after the command's name; None takes those of the process.
    :returns: the exit status: 0, or 1 when the port is taken.
    """
    options = _parser().parse_args(argv)
    state = SandboxState(processing=options.processing, seed=options.seed, speed=options.speed)
    return asyncio.run(_serve(state, options.port))


async def _serve(state: SandboxState, port: int) -> int:
    side, stop, loop = SandboxServer(state), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await side.open(port)
    except OSError as error:
        sys.stderr.write(f"The sandbox cannot listen on {HOST}:{port}: {error.strerror or error}. Try another --port.\n")
        return 1
    sys.stdout.write(welcome(state))
    sys.stdout.flush()
    await stop.wait()
    await side.close()
    return 0


def welcome(state: SandboxState) -> str:
    """What a person needs to buy here: addresses, tokens, and Airflow connections ready to paste."""
    root = f"http://{HOST}:{state.pool.port}"
    lines = [f"Four vendors, no real money, at {root} until Ctrl-C.", ""]
    for name, vendor in state.vendors.items():
        url, token = state.url(name), vendor.wallet().token
        connection = {"conn_type": name, "host": url, "password": token, "extra": {"max_order_price": _CAP}}
        ready = shlex.quote(json.dumps(connection))
        lines += [
            f"{name}: {url}  token {token}",
            f"  airflow connections add {name}_sandbox --conn-json {ready}",
            f"  export AIRFLOW_CONN_{name.upper()}_SANDBOX={ready}",
            "",
        ]
    lines += [
        f"What was bought: {root}/{OWN}/book   what should go wrong: {root}/{OWN}/faults",
        f"Delivered proxies work for targets on this machine, for example {root}/{OWN}/whoami",
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proxyorders sandbox",
        description="ProxyScrape, IPRoyal, Voodoo and PROXY6 on this machine, with invented money, for trying things out.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=_port, default=8090, help="port on 127.0.0.1 (8090); 0 takes a free one")
    parser.add_argument("--processing", type=_seconds, help="seconds until an order is usable (0.5 for ProxyScrape, else 1)")
    parser.add_argument("--seed", type=int, help="the same ids, passwords and codes in every run")
    parser.add_argument("--speed", type=_seconds, default=1.0, help="sandbox seconds that pass in one second (1)")
    return parser


def _epilog() -> str:
    actions = "\n".join(f"  {name:<14}{'|'.join(action.moments):<14}{action.words}" for name, action in ACTIONS.items())
    example = '{"vendor": "iproyal", "operation": "create", "when": "after", "action": "reset", "times": 1}'
    return f"""A fault is POSTed to /{OWN}/faults:

  {example}

  action        when          what happens
{actions}

`vendor` and `operation` are "*" unless given; `nth` and `times` choose among the requests that match."""


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} must be a port from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number >= 0")
    return seconds

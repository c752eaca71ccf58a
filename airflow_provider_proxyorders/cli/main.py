"""The command proxyorders: check a connection or the ledger, resolve a purchase, run the receiver, the sandbox or the demo.

Exit status: 0 done, 1 failed with a message that says why, 2 the arguments are wrong. Every command leaves the wallet alone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence

from airflow_provider_proxyorders import __version__
from airflow_provider_proxyorders.cli import catalogue, doctor, ledger, new_vendor, screen, webhooks
from airflow_provider_proxyorders.domain.errors import ProxyOrdersError
from airflow_provider_proxyorders.purchase.guarantees import sentences, table
from airflow_provider_proxyorders.vendors.registry import usable_vendors


def main(argv: Sequence[str] | None = None, prog: str = "proxyorders") -> int:
    """Run the command.

    :param prog: the words that a person types before the arguments.
    :returns: the exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["sandbox"]:  # has its own options and help
        from airflow_provider_proxyorders.sandbox.standalone import serve

        return serve(words[1:])
    try:
        arguments = _parser(prog).parse_args(words)
        with contextlib.nullcontext() if arguments.talks else screen.only_the_answer():
            status: int = arguments.run(arguments)
    except ProxyOrdersError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        return 0
    except OSError as error:  # such as a full disk behind stdout
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    return status


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = screen.Parser(prog=prog, description=__doc__.split("\n\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(talks=False)  # True: it runs until Ctrl-C, or tells a story, so its own lines are the answer
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    commands.add_parser("sandbox", help="run the four vendors on localhost (see: proxyorders sandbox --help)", add_help=False)
    demo = commands.add_parser("demo", help="buy at every vendor of the sandbox, under a real Airflow")
    demo.add_argument("--keep", action="store_true", help="keep Airflow running afterwards, until Ctrl-C")
    demo.set_defaults(run=_demo, talks=True)
    webhooks.add_parser(commands)
    doctor.add_parser(commands)
    catalogue.add_parser(commands)
    guarantees = commands.add_parser(
        "guarantees", parents=[screen.output_option()], help="the guarantees of each vendor, derived from its capabilities"
    )
    guarantees.set_defaults(run=_guarantees)
    ledger.add_parser(commands)
    new_vendor.add_parser(commands)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from airflow_provider_proxyorders.cli.demo import run

    return run(keep=arguments.keep, out=sys.stdout)


def _guarantees(arguments: argparse.Namespace) -> int:
    if arguments.output == "table" and not screen.is_terminal():
        screen.show(table())  # Markdown, as in the documentation
        return 0
    columns = {"vendor": "VENDOR", "what": "WHAT", "guarantee": "GUARANTEE"}
    rows = [
        {"vendor": vendor.title, "what": what, "guarantee": sentence}
        for vendor in usable_vendors()
        for what, sentence in sentences(vendor).items()
    ]
    screen.show_rows(rows, arguments.output, columns=columns)
    return 0


if __name__ == "__main__":
    sys.exit(main())

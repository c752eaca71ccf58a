"""``proxyorders catalogue CONN_ID``: what the vendor sells, with the values that ``request`` takes. It only reads."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_proxyorders import _compat
from airflow_provider_proxyorders.cli import screen

_COLUMNS = {"product": "PRODUCT", "field": "FIELD OF REQUEST", "value": "VALUE", "name": "NAME", "price": "PRICE"}


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "catalogue",
        parents=[screen.output_option()],
        help="what the vendor of a connection sells, with the values for request",
        description="Reads the vendor's catalogue. -o json and -o yaml print it in the vendor's own form.",
    )
    parser.add_argument("conn_id", metavar="CONN_ID", help="id of an Airflow connection")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the catalogue and print it."""
    from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook

    _compat.act_as_airflow_command()
    hook = ProxyOrdersHook(arguments.conn_id)
    if arguments.output in ("json", "yaml"):
        screen.show_data(screen.plain(hook.get_products()), arguments.output)
        return 0
    rows = [row for product in hook.iter_products() for row in rows_of(product, hook.vendor.catalogue_fields)]
    screen.show_rows(rows, arguments.output, columns=_COLUMNS, nothing=f"{hook.vendor.title} lists no products.")
    return 0


def rows_of(product: Mapping[str, Any], fields: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One line for each value of a product that a request takes.

    :param fields: see :attr:`Vendor.catalogue_fields`.
    """
    for path, field in fields.items():
        *parents, last = path.split(".")
        for entry in _entries(product, parents):
            if entry.get(last) is not None:
                row = {"product": product.get("name") or "", "field": field, "value": entry[last]}
                yield row | {"name": entry.get("name") or "", "price": entry.get("price") or ""}


def _entries(entry: Mapping[str, Any], parents: list[str]) -> Iterator[Mapping[str, Any]]:
    """The objects below a path; what a vendor wrote in another form is left out."""
    if not parents:
        yield entry
        return
    below = entry.get(parents[0])
    for each in below if isinstance(below, list) else []:
        if isinstance(each, Mapping):
            yield from _entries(each, parents[1:])

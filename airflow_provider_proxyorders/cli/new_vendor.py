"""``proxyorders new-vendor NAME``: write a package with a vendor of your own, which builds, tests and installs as it is.

One rule: the page ``docs/new_vendor.md`` is the template, so the package is the example that the page explains.
"""

from __future__ import annotations

import argparse
import json
import keyword
import re
from pathlib import Path
from typing import Any

from airflow_provider_proxyorders.cli import screen
from airflow_provider_proxyorders.domain.errors import ConfigError, InvalidParameter
from airflow_provider_proxyorders.vendors.registry import vendor_names

#: The vendor of the page.
EXAMPLE = "acme"
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_BLOCK = re.compile(r"^```(?:python|toml|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml))\n")


def add_parser(commands: Any) -> None:
    """Add the command to ``proxyorders``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "new-vendor",
        help="write a package with a vendor of your own",
        description="Writes a package that builds, tests and installs: the example of docs/new_vendor.md under your name.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the vendor, and the type of its connections, such as acme")
    parser.add_argument("--folder", type=Path, help="a new or empty folder (default: NAME-orders)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the package and name the next steps."""
    folder = arguments.folder or Path(f"{_dashed(arguments.name)}-orders")
    written = write(arguments.name, folder)
    for path in written:
        screen.show(str(path))
    screen.tell(f"Next: cd {folder}; pip install -e .; pytest. Then put your vendor's facts in the place of the example's.")
    return 0


def write(name: str, folder: Path) -> list[Path]:
    """Write the package.

    :raises InvalidParameter, ConfigError: the name or the folder is in use, or the name is no name.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise InvalidParameter("NAME", "must be a word of small letters and digits, with _ between its parts", "acme", got=name)
    if name in vendor_names():
        raise ConfigError(f"a vendor named {name!r} is installed already. Choose another name.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is in use. Name another folder with --folder.")
    written = []
    for path, text in files(page_text()).items():
        target = folder / _renamed(path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_renamed(text, name), encoding="utf-8")
        written.append(target)
    return written


def page_text() -> str:
    """The page, beside this file in an installed package, in ``docs`` in a checkout.

    :raises ConfigError: it is in neither place.
    """
    for path in (Path(__file__).with_name("new_vendor.md"), Path(__file__).resolve().parents[2] / "docs" / "new_vendor.md"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ConfigError("the template new_vendor.md is missing. Reinstall the package.")


def files(page: str) -> dict[str, str]:
    """The files in the blocks of the page: path -> text. An exchange is named by its own fields."""
    texts: dict[str, str] = {}
    for block in _BLOCK.findall(page):
        name = _FILE.match(block)
        if name:
            texts[name[1]] = block
        elif block.startswith("{"):
            data = json.loads(block)
            texts[f"tests/exchanges/{data['vendor']}/{data['operation']}.{data['case']}.json"] = block
    return texts | {f"{EXAMPLE}_orders/__init__.py": ""}


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _renamed(text: str, name: str) -> str:
    """A text of the example about another vendor; a distribution and a host have dashes, a class begins with a capital."""
    text = text.replace(f"{EXAMPLE}-orders", f"{_dashed(name)}-orders").replace(f"{EXAMPLE}.example", f"{_dashed(name)}.example")
    title = "".join(part.capitalize() for part in name.split("_"))
    return text.replace(EXAMPLE.capitalize(), title).replace(EXAMPLE, name)

"""The other blocks of README and the pages: commands run as pasted in an empty folder, Python runs, settings are parsed.

Each block is in one of three tables: played here, read here, or left out with the reason. The changes to a block are those that a
reader makes too: the key, and the address of a vendor or receiver on this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from airflow_provider_proxyorders.hooks.proxyorders import ProxyOrdersHook
from airflow_provider_proxyorders.provider_info import provider_info
from airflow_provider_proxyorders.sandbox import Sandbox
from tests.hooks.connections import REQUESTS, Shops, shops
from tests.house.blocks import Block, blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: (page, first words) -> what the block prints at the sandbox; the connections that it exports are tested.
SHELL = {
    ("README.md", "export AIRFLOW_CONN_IPROYAL"): "key accepted",
    ("docs/start.md", "export AIRFLOW_CONN_IPROYAL"): "",
    ("docs/start.md", "proxyorders doctor"): "product_plan_id",
    ("docs/connect.md", "# ProxyScrape: an API token"): "",
    ("docs/connect.md", "export AIRFLOW_CONN_IPROYAL_DEFAULT='iproyal://"): "",
    ("docs/run_on.md", "proxyorders doctor"): "key accepted",
    ("docs/operations.md", "proxyorders doctor"): "is not frozen",
    ("docs/vendors/iproyal.md", "export"): "",
    ("docs/vendors/proxy6.md", "export"): "",
    ("docs/vendors/proxyscrape.md", "export"): "",
    ("docs/vendors/voodoo.md", "export"): "",
}
#: Tests of their own, below or in the file that is named.
ELSEWHERE = {
    ("docs/start.md", "proxyorders demo"): "below; the demo is a whole Airflow: tests/e2e/test_demo.py",
    ("docs/testing.md", "# a low wallet"): "below",
    ("docs/webhooks.md", "proxyorders webhooks serve"): "below",
    ("docs/webhooks.md", "SECRET="): "below",
    ("docs/webhooks.md", "proxyorders webhooks list"): "below",
    ("docs/connect.md", "airflow connections add"): "below",
    ("README.md", "make demo"): "a whole Airflow and the site: tests/e2e/test_demo.py, tests/house/test_site.py",
    (
        "README.md",
        "pip install",
    ): "needs the index: tests/package/test_wheel.py without it, make release with it",
    ("docs/start.md", "pip install"): "as in README.md",
    ("docs/operations.md", "proxyorders ledger list"): "four answers to one question: tests/cli/test_deciding.py gives each",
    ("docs/connect.md", "proxyorders doctor"): "the command of run_on.md",
    ("docs/new_vendor.md", "proxyorders new-vendor"): "tests/package/test_outside_vendor.py",
    ("CONTRIBUTING.md", "make "): "make test would run itself",
    ("CONTRIBUTING.md", ".venv/bin/python"): "a test that runs a test file shows nothing more than that file",
    ("docs/run_on.md", "FROM apache/airflow"): "needs a container engine and a registry",
    ("docs/webhooks.md", "limit_req_zone"): "needs nginx",
    ("docs/scale.md", "CREATE ROLE"): "needs a server of its own; tests/cluster makes such a database",
    ("docs/scale.md", "docker compose"): "needs a container engine",
    ("docs/architecture.md", "stateDiagram"): "a picture; tests/house/test_docs.py compares it with the code",
}
NEEDS_CURL = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")


def row_of(table: dict[tuple[str, str], Any], block: Block) -> tuple[str, str] | None:
    rows = [row for row in table if row[0] == block.page and block.text.startswith(row[1])]
    return rows[0] if rows else None


def block_of(project: Path, page: str, begin: str) -> str:
    (block,) = [block for block in blocks(project, "bash") if block.page == page and block.text.startswith(begin)]
    return block.text


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shops]:
    """The sandbox, an empty folder as the working one, and ``proxyorders`` as installed."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield from shops(tmp_path, monkeypatch)


def at_the_sandbox(text: str, box: Sandbox) -> str:
    """A block with the reader's own key, and the address of the sandbox beside it."""

    def fields(match: re.Match[str]) -> str:
        vendor = match[1]
        return f'"conn_type": "{vendor}", "host": "{box.url(vendor)}", "password": "{box.token(vendor)}"'

    def uri(match: re.Match[str]) -> str:
        return f"{match[1]}://:{box.token(match[1])}@{quote(box.url(match[1]), safe='')}/?"

    text = re.sub(r'"conn_type": "(\w+)", "password": "[^"]+"', fields, text)
    return re.sub(r"(\w+)://:[\w-]+@[\w%.]*/\?", uri, text)


def bash(script: str) -> tuple[str, dict[str, str]]:
    """Run a script; returns its output and the connections that it leaves in the environment."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{script}\nenv -0 > variables"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    variables = dict(line.split("=", 1) for line in Path("variables").read_text().split("\0") if "=" in line)
    return done.stdout, {name: value for name, value in variables.items() if name.startswith("AIRFLOW_CONN_")}


def test_each_block_is_played_read_or_left_out_with_a_reason(project: Path, record_property: Any) -> None:
    read = {"ini", "yaml", "json", "toml", "python"}
    every = [block for block in blocks(project) if block.language not in read]
    rows = [row_of({**SHELL, **ELSEWHERE}, block) for block in every]
    assert [str(block) for block, row in zip(every, rows, strict=True) if row is None] == []
    assert {*SHELL, *ELSEWHERE} - {*rows} == set(), "a row without a block"
    record_property("code blocks of the pages", len(list(blocks(project))))


@pytest.mark.parametrize("row", SHELL, ids=lambda row: f"{row[0]} {row[1]}"[:40])
def test_commands_run_as_pasted(shop: Shops, project: Path, row: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = block_of(project, *row)
    if "export" not in text:
        shop.connect("iproyal")
    if "unfreeze" in text:  # a ledger that knows the wallet
        shop.hook("iproyal").create_order(REQUESTS["iproyal"], order_key="k")
    said, connections = bash(at_the_sandbox(text, shop.box))
    assert SHELL[row] in said
    for name, value in connections.items():
        monkeypatch.setenv(name, value)
        works, message = ProxyOrdersHook(name.removeprefix("AIRFLOW_CONN_").lower()).test_connection()
        assert works, message
    assert connections and len(shop.bought("iproyal")) == ("unfreeze" in text), "a block of a page bought something"


class Running:
    """A command that serves until Ctrl-C, as a page starts it."""

    def __init__(self, line: str, first: str):
        command = ["bash", "-c", f"exec {line}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        for said in self.process.stdout or ():
            self.lines.append(said)
            if first in said:
                break
        assert self.lines and first in self.lines[-1], "".join(self.lines)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@NEEDS_CURL
def test_the_sandbox_by_hand(shop: Shops, project: Path) -> None:
    """``proxyorders sandbox`` as the page starts it, then the commands that steer it."""
    line = next(line for line in block_of(project, "docs/start.md", "proxyorders demo").splitlines() if "sandbox" in line)
    commands = block_of(project, "docs/testing.md", "# a low wallet")
    port = free_port()
    with Running(line.replace("proxyorders sandbox", f"proxyorders sandbox --port {port}"), "Delivered proxies work") as sandbox:
        bash(commands.replace("curl", "curl -sf").replace("127.0.0.1:8090", f"127.0.0.1:{port}"))
        printed = "".join(line for line in sandbox.lines if "export AIRFLOW_CONN" in line)
        _, connections = bash(printed)
        assert len(connections) == 4
        shop.patch.setenv("AIRFLOW_CONN_IPROYAL_SANDBOX", connections["AIRFLOW_CONN_IPROYAL_SANDBOX"])
        assert "balance 1.00" in ProxyOrdersHook("iproyal_sandbox").test_connection()[1]


@NEEDS_CURL
def test_a_receiver_alone(shop: Shops, project: Path) -> None:
    """Start it, send the test delivery, list what came."""
    begins = ("proxyorders webhooks serve", "SECRET=", "proxyorders webhooks list")
    serve, send, listing = (block_of(project, "docs/webhooks.md", begin) for begin in begins)
    shop.connect("voodoo", extra={"webhook_secret": "the webhook_secret of voodoo_default"})
    port = free_port()
    with Running(serve.replace("8095", str(port)), "receiving webhooks"):
        address = "https://airflow.example.com/proxyorders/webhooks"
        assert address in send
        script = send.replace(address, f"http://127.0.0.1:{port}").replace("curl -i", "curl -s -i --retry 20 --retry-connrefused")
        said, _ = bash(script)
        assert said.split()[1] == "200"
    said, _ = bash(listing)
    assert said.count("test-1") == 2  # it matches no purchase, so both lists have it


def test_a_connection_by_the_command_line(shop: Shops, project: Path) -> None:
    """Airflow's command writes into its database. So this reads it with Airflow's own parser, and makes the connection."""
    from airflow.cli.cli_parser import get_parser
    from airflow.models.connection import Connection

    (line,) = block_of(project, "docs/connect.md", "airflow connections add").splitlines()
    words = get_parser().parse_args(shlex.split(line)[1:])
    fields = {"conn_type": words.conn_type, "password": words.conn_password, "extra": words.conn_extra}
    made = Connection(conn_id=words.conn_id, **fields)
    shop.connect("iproyal", words.conn_id, extra=json.loads(made.extra))
    assert made.password == "YOUR-TOKEN" and ProxyOrdersHook(words.conn_id).test_connection()[0]


# -- Python that is no DAG ---------------------------------------------------------------------------------------------


def python_of(project: Path, page: str) -> str:
    (block,) = [block for block in blocks(project, "python") if block.page == page]
    return block.text


def test_a_test_of_ones_own(shop: Shops, project: Path) -> None:
    """Pasted into an empty project, its test passes there by the plugin alone."""
    text = python_of(project, "docs/testing.md")
    file = Path(text.splitlines()[0].removeprefix("# "))
    file.parent.mkdir()
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_watcher_of_a_wallet(shop: Shops, project: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(python_of(project, "docs/dags.md"), "dags.md", "exec"), names)
    assert [watcher.trigger for watcher in names["low"].watchers] == [names["trigger"]]


def test_voodoos_catalogue(shop: Shops, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop.connect("voodoo", extra={"catalogue_price_field": "price"})
    exec(compile(python_of(project, "docs/vendors/voodoo.md"), "voodoo.md", "exec"), {})
    assert "5120 {" in capsys.readouterr().out and shop.bought("voodoo") == []


def test_every_block_of_python_is_in_a_test(project: Path) -> None:
    """DAGs are played by ``test_dag_blocks``, the files of new_vendor.md by ``tests/package/test_outside_vendor.py``."""
    others = {block.page for block in blocks(project, "python") if not block.dag_file}
    assert others == {"docs/dags.md", "docs/testing.md", "docs/vendors/voodoo.md", "docs/new_vendor.md"}


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_are_those_that_airflow_knows(project: Path) -> None:
    options = provider_info()["config"]["proxyorders"]["options"]
    for block in blocks(project, "ini"):
        parser = ConfigParser(interpolation=None)
        parser.read_string(block.text)
        assert parser.sections() == ["proxyorders"] and {*parser["proxyorders"]} <= {*options}
    named = {name for block in blocks(project, "yaml") for name in re.findall(r"AIRFLOW__PROXYORDERS__(\w+)", block.text)}
    assert named and {name.lower() for name in named} <= options.keys()


READERS: dict[str, Any] = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}


@pytest.mark.parametrize("language", READERS)
def test_data_can_be_read(project: Path, language: str) -> None:
    texts = [block.text for block in blocks(project, language)]
    assert texts and all(READERS[language](text) for text in texts)

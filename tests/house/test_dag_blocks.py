"""Every DAG of README and the pages runs as pasted at the sandbox, in its first try, and buys what its block says to the cent.

``play_dags`` runs them. The one change to a block is the address of the page that it fetches through the proxies, since no test
leaves this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.house.blocks import blocks

ISP = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2}
#: DAG -> the charges: vendor, kind, amount, and the fields that the block names.
BUYS: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {
    "buy_and_count": [("iproyal", "create", "6.00", ISP)],
    "buy_and_scrape": [("iproyal", "create", "6.00", ISP)],
    "daily_proxies": [("iproyal", "create", "6.00", ISP)],
    "four_cities": [
        ("iproyal", "create", "3.00", {**ISP, "product_location_id": location, "quantity": 1}) for location in (77, 78)
    ],
    "from_python": [("voodoo", "create", "9.00", {"item_id": 5120, "quantity": 2})],
    "fresh_proxies": [("iproyal", "create", "6.00", ISP)],
    "by_the_id": [("iproyal", "create", "6.00", ISP)],
    "keep_paid": [("iproyal", "extend", "3.00", {"product_plan_id": 22})],
    "many_orders": [("iproyal", "create", "6.00", ISP)] * 20,
    "asking": [("voodoo", "create", "13.50", {"item_id": 5120, "quantity": 3})],
    "wait_elsewhere": [("voodoo", "create", "9.00", {"item_id": 5120, "quantity": 2})],
    "watch_wallets": [],
    "after_top_up": [],
}
#: The idiom of TaskFlow that buy.md names beside the one of its block.
BY_THE_ID = ("order_id=order.output,", 'order_id=order.output["order_id"],')
#: DAG -> what its tasks return beside the orders.
RETURNS: dict[str, dict[str, Any]] = {
    "buy_and_count": {"count[-1]": 2},
    "buy_and_scrape": {"scrape[-1]": 200},
    "from_python": {"buy[-1]": [0, 1], "use[0]": 0, "use[1]": 1},
    "fresh_proxies": {"numbers[-1]": [0, 1], "scrape[0]": 200, "scrape[1]": 200},
}


@pytest.fixture(scope="module")
def played(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each DAG; one program runs them all."""
    files = {block.dag_file: block.text for block in blocks(project, "python") if block.dag_file}
    files["by_the_id"] = files["fresh_proxies"].replace("fresh_proxies", "by_the_id").replace(*BY_THE_ID)
    assert files.keys() == BUYS.keys(), "a new DAG of a page needs a row in BUYS"
    result = tmp_path_factory.mktemp("played") / "result.json"
    command = [sys.executable, "-m", "tests.house.play_dags", str(result)]
    done = subprocess.run(command, cwd=project, input=json.dumps(files), capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    outcome: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return outcome


def test_every_dag_of_the_pages_runs_and_buys_what_it_says(played: dict[str, Any], record_property: Any) -> None:
    """In one test, so that parallel runs play the DAGs once."""
    assert played.keys() == BUYS.keys()
    for name, dag in played.items():
        assert dag["states"] == ["success"] * (2 if name == "daily_proxies" else 1), (name, dag["tasks"])
        assert {task: outcome for task, outcome in dag["tasks"].items() if outcome != ["success", 1]} == {}, name
        bought = [
            (entry["vendor"], entry["kind"], entry["amount"], {field: (entry["request"] or {}).get(field) for field in wanted[3]})
            for entry, wanted in zip(dag["charges"], BUYS[name], strict=True)
        ]
        assert sorted(map(repr, bought)) == sorted(map(repr, BUYS[name])), name
        returned = {key.partition(" ")[0]: value for key, value in dag["xcoms"].items() if key.endswith(" return_value")}
        assert {task: returned.get(task) for task in RETURNS.get(name, {})} == RETURNS.get(name, {}), name
        record_property(f"seconds of the DAG {name}", dag["seconds"])

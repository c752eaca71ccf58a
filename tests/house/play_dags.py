"""Runs the DAG files of the pages at the sandbox, each with ``dag.test()``; ``python -m tests.house.play_dags`` runs it.

A program of its own, since Airflow reads its settings once a process. It takes the files as JSON from its input and writes what
became of each to a file. One Airflow database serves them all. A block that takes longer than its limit ends the program, with
a trace of all threads on stderr.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

#: seconds for one DAG, on a slow machine
LIMIT = 120
#: seconds that an order takes here: ready at the first look, or after the task was deferred
QUICK, SLOW = 0.0, 1.5


def main(result: Path) -> None:
    files: dict[str, str] = json.load(sys.stdin)
    with tempfile.TemporaryDirectory(prefix="proxyorders-blocks-") as folder:
        home = Path(folder)
        (home / "dags").mkdir()
        os.environ.update(
            AIRFLOW_HOME=folder,
            HOME=folder,
            AIRFLOW__CORE__DAGS_FOLDER=f"{home}/dags",
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__PROXYORDERS__LEDGER_URL=f"sqlite:///{home}/proxyorders.db",
        )
        os.chdir(home)
        from airflow.settings import configure_orm
        from airflow.utils.db import initdb

        from airflow_provider_proxyorders.sandbox import Sandbox

        _look_soon()
        configure_orm()
        initdb()
        with Sandbox.start(processing=QUICK) as box:
            for vendor in box.state.vendors:
                os.environ[f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT"] = json.dumps(box.connection(vendor, settle=0.3))
            box.control({"vendor": "iproyal", "order": _expiring(7900)})
            played: dict[str, Any] = {}
            for name, text in files.items():
                faulthandler.dump_traceback_later(LIMIT, exit=True)
                box.control({"processing": SLOW if "deferrable=True" in text else QUICK})
                played[name] = _play(box, home / "dags" / f"{name}.py", text.replace("https://example.com/", box.whoami))
                faulthandler.cancel_dump_traceback_later()
                result.write_text(json.dumps(played), encoding="utf-8")


def _look_soon() -> None:
    """The vendors' rhythm is five seconds or more between two looks at an order; here nobody waits for it."""
    from airflow_provider_proxyorders.triggers import subscription
    from airflow_provider_proxyorders.vendors.registry import usable_vendors

    subscription.EARLIEST = 0.05
    for vendor in usable_vendors():
        offered = vendor.capabilities
        vendor.capabilities = replace(offered, polling=replace(offered.polling, first=0.05, fastest=0.05))


def _expiring(number: int) -> dict[str, Any]:
    """An order from before, which ends tomorrow."""
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    ends = tomorrow.strftime("%Y-%m-%d %H:%M:%S")
    return {"id": number, "product_id": 9, "product_plan_id": 22, "status": "confirmed", "note": "crawler", "expire_date": ends}


def _play(box: Any, file: Path, text: str) -> dict[str, Any]:
    """Run one DAG file as the only one of its folder, and tell what became of it."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    before, began = len(box.book.charges()), time.monotonic()
    file.write_text(text, encoding="utf-8")
    (dag,) = DagBag(str(file)).dags.values()
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    # what is scheduled runs once by its schedule and once by hand, as after unpause and trigger
    scheduled = [dag.test(logical_date=midnight)] if '"@daily"' in text else []
    runs = [*scheduled, dag.test()]
    run = runs[-1]
    with create_session() as session:
        rows = session.query(XComModel).filter_by(dag_id=dag.dag_id, run_id=run.run_id).all()
        xcoms = {f"{row.task_id}[{row.map_index}] {row.key}": XComModel.deserialize_value(row) for row in rows}
    tasks = {f"{ti.task_id}[{ti.map_index}]": [str(ti.state), ti.try_number] for ti in run.get_task_instances()}
    file.unlink()
    return {
        "states": [str(each.state) for each in runs],
        "tasks": tasks,
        "xcoms": xcoms,
        "charges": [entry.as_dict() for entry in box.book.charges()[before:]],
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))

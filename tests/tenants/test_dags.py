"""Asset events that somebody else made, and the example DAGs that read them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        (("order_to_pipeline", "table"), True),
        ((None, None), False),
        (("of_another_tenant", "table"), False),
        (("order_to_pipeline", "fetch"), False),
    ],
    ids=["the pipeline's", "made by hand", "of another DAG", "of another task"],
)
def test_the_report_opens_a_file_only_for_the_task_that_wrote_it(
    project: Path, tmp_path: Path, source: tuple[Any, Any], counts: bool
) -> None:
    dag = runpy.run_path(str(project / "dags" / "order_to_pipeline.py"))
    file = tmp_path / "a.pages.csv"
    file.write_text("entry,status,bytes,seconds\n0,200,7,0.1\n")
    event = SimpleNamespace(source_dag_id=source[0], source_task_id=source[1], extra={"path": str(file), "order_id": "7001"})
    tables = dag["report"].function(triggering_asset_events={dag["PAGES"]: [event]})
    assert tables == ([{"order_id": "7001", "pages": 1, "bytes": 7}] if counts else [])

"""Puts deferred tasks into an Airflow's database as Airflow itself does when a worker's task defers, without the workers.

Runs in that Airflow's environment: ``deferred_rows.py CONTENDER VENDOR RUN ORDER...``, with the address of the vendor and the id
of the run to make. Ours are deferred by their own sensor, with ids and moments as if it had begun five minutes ago; the peer has
the trigger that its sensor would make.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import measuring
import triggerer
from waiters import EVERY, HttpSensor

#: Seconds that a sensor waits at most, and since when it does.
TIMEOUT, SINCE = 7200.0, 300.0
Deferral = tuple[Any, str, dict[str, Any]]


def deferrals(name: str, box: measuring.SandboxProcess, ids: list[str]) -> Iterator[Deferral]:
    """For each order its trigger, the method to go on with, and that method's arguments."""
    from airflow.sdk.exceptions import TaskDeferred

    from airflow_provider_proxyorders.sensors.orders import ProxyOrderSensor

    if name == triggerer.LIMIT:
        from limit_trigger import LimitTrigger

        yield from ((LimitTrigger(order_id, "shop"), "execute_complete", {}) for order_id in ids)
    elif name == triggerer.PEER:
        peer = HttpSensor(box, ids)
        yield from ((peer.trigger(order_id), "execute_complete", {}) for order_id in ids)
    else:
        deadline = datetime.now(timezone.utc) + timedelta(seconds=TIMEOUT - SINCE)
        for order_id in ids:
            sensor = ProxyOrderSensor(
                task_id="wait",
                conn_id="shop",
                order_id=order_id,
                deferrable=True,
                end_from_trigger=name in triggerer.FROM_TRIGGER,
                poll_interval=EVERY,
                timeout=TIMEOUT,
            )
            try:
                sensor._defer(deadline)
            except TaskDeferred as deferred:
                yield deferred.trigger, deferred.method_name, dict(deferred.kwargs or {})


def main() -> None:
    name, root, run_id, *ids = sys.argv[1:]
    box = measuring.SandboxProcess(root)

    from airflow.models import Connection
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.sdk.serde import serialize
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    now, vendor = datetime.now(timezone.utc), triggerer.CONTENDERS[name].vendor
    with create_session() as session:
        if not session.query(Connection).count():
            shop = json.loads(box.connection(vendor))
            session.add(Connection(conn_id="shop", **{**shop, "extra": json.dumps(shop["extra"])}))
            session.add(Connection(conn_id="plain", conn_type="http", host=box.url(vendor)))
        dag = SerializedDagModel.get_dag("waiting", session=session)
        run = dag.create_dagrun(
            run_id=run_id,
            run_after=now,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            start_date=now,
            session=session,
        )
        first = run.get_task_instance("wait", session=session)
        task = dag.get_task("wait")
        triggers, tasks = [], []
        for index, (trigger, method, kwargs) in enumerate(deferrals(name, box, ids)):
            classpath, arguments = trigger.serialize()
            row = Trigger(classpath=classpath, kwargs={})
            row.encrypted_kwargs = json.dumps(serialize(arguments))  # of a task that defers they are stored in plain text
            instance = first
            if index:
                instance = TaskInstance(task, run_id=run_id, map_index=index, dag_version_id=first.dag_version_id)
            instance.map_index, instance.try_number, instance.start_date = index, 1, now
            instance.state, instance.next_method, instance.next_kwargs = TaskInstanceState.DEFERRED, method, serialize(kwargs)
            triggers.append(row)
            tasks.append(instance)
        session.add_all(triggers)
        session.flush()
        for instance, row in zip(tasks, triggers, strict=True):
            instance.trigger_id = row.id
        session.add_all(tasks)


if __name__ == "__main__":
    try:
        main()
    except ImportError as missing:
        print(f"missing: {missing}", file=sys.stderr)
        sys.exit(triggerer.MISSING)

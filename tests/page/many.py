"""A ledger with very many purchases, written in one statement."""

from __future__ import annotations

from datetime import datetime, timezone

from sqlalchemy import Engine, text

#: The moments of the first purchase; each further one is a second later.
FIRST = datetime(2025, 1, 1, tzinfo=timezone.utc)
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < {many}) ",
    "postgresql": "WITH numbers AS (SELECT i FROM generate_series(0, {many} - 1) AS i) ",
}
#: ISO text in UTC, a second for each purchase since 2025.
_MOMENT = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%S', 1735689600 + i, 'unixepoch') || '.000000+00:00'",
    "postgresql": "to_char(to_timestamp(1735689600 + i) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') || '.000000+00:00'",
}
_FILL = """
INSERT INTO proxyorders_purchases (order_key, kind, vendor, conn_id, wallet, step, fingerprint, request, order_id, vendor_status,
  currency, reserved, price, counted, counted_on, expires_at, delivered, reason, evidence, maybe_sent, confirmed, fence, sent_at,
  created_at, updated_at, dag_id, run_id, task_id, map_index)
{numbers} SELECT 'bulk/order/' || i, CASE i % 4 WHEN 0 THEN 'extend' ELSE 'create' END, 'iproyal', 'iproyal_' || (i % 7),
  'iproyal:iproyal_' || (i % 7), CASE WHEN i % 100 = 3 THEN 'failed' WHEN i % 50 = 9 THEN 'rejected' ELSE 'delivered' END,
  'f', '{{}}', 'b' || i, 'confirmed', 'USD', '1.00', '1.00', 1000000, substr({moment}, 1, 10), {moment}, 1, '', '{{}}', {false},
  {true}, 1, {moment}, {moment}, {moment}, CASE WHEN i % 1000 = 1 THEN 'rare' ELSE 'bulk_' || (i % 40) END, 'r', 'order', -1
FROM numbers
"""


def fill(engine: Engine, many: int) -> None:
    """Write so many purchases of seven connections and some forty DAGs."""
    name = engine.dialect.name
    truth = ("1", "0") if name == "sqlite" else ("TRUE", "FALSE")
    statement = _FILL.format(numbers=_NUMBERS[name].format(many=many), moment=_MOMENT[name], true=truth[0], false=truth[1])
    with engine.begin() as connection:
        if name == "sqlite":  # SQLite wants the WITH before the INSERT's SELECT, as PostgreSQL takes it too
            connection.execute(text(statement))
        else:
            connection.execute(text(statement.replace(":00", "\\:00")))

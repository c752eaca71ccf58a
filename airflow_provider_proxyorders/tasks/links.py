"""The link from a task to its order in the vendor's dashboard."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink

#: XCom key under which a task leaves the address of its order.
PAGE = "order_page"


class OrderPageLink(BaseOperatorLink):
    """Opens the order in the vendor's dashboard.

    No vendor documents the address of that page, so it is the connection's setting ``order_page``, for example
    ``https://dashboard.example.com/orders/{order_id}``; without it the button stays inactive.
    """

    name = "Purchase"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from airflow.sdk.bases.xcom import BaseXCom

        found = BaseXCom.get_value(key=PAGE, ti_key=ti_key)
        return str(found) if found else ""

"""The link from a task to its order in the vendor's dashboard."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

#: XCom key for the address of a task's order.
PAGE = "order_page"


class OrderPageLink(BaseOperatorLink):
    """Opens the order in the vendor's dashboard.

    The vendors leave the address of that page undocumented, so the connection's setting ``order_page`` names it, for example
    ``https://dashboard.example.com/orders/{order_id}``. Without it the button stays inactive.
    """

    name = "Order"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        address = BaseXCom.get_value(key=PAGE, ti_key=ti_key)
        return str(address) if address else ""

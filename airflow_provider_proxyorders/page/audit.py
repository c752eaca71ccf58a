"""Each decision of a logged-in user in Airflow's audit log: the call, then its end.

Two rules. The row of the call comes first, so each decision has a row. A call with an early end, for example by a missing header
or a ledger out of reach, has a row of its refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow.models.log import Log
from airflow.utils.session import create_session
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from airflow_provider_proxyorders.domain.errors import LedgerError, ProxyOrdersError
from airflow_provider_proxyorders.domain.exact_json import dump_json
from airflow_provider_proxyorders.domain.text import one_line
from airflow_provider_proxyorders.ledger import StaleClaim
from airflow_provider_proxyorders.page import shapes
from airflow_provider_proxyorders.page.calls import RightsDep, storable


@dataclass
class Audit:
    """The rows of one call.

    :param event: the name of its rows in the audit log.
    :param name: of the user.
    :ivar begun: whether the log has the row of the call.
    """

    event: str
    name: str
    begun: bool = False

    @contextmanager
    def whole(self, asked: dict[str, Any]) -> Iterator[None]:
        """Around a decision: first a row of the call, then one of its end."""
        self._log("", asked)
        self.begun = True
        try:
            yield
        except StaleClaim as error:
            self.refuse(error, asked)
            raise HTTPException(409, f"{one_line(error)} Nothing was changed; look again.") from None
        except Exception as error:
            self.refuse(error, asked)
            raise
        self._log(".done", asked)

    def refuse(self, error: Exception, asked: dict[str, Any]) -> None:
        """A row of a refusal and its reason."""
        self._log(".refused", {**asked, "refused": _reason(error)})

    def _log(self, end: str, extra: dict[str, Any]) -> None:
        row = Log(
            event=f"{self.event}{end}", task_instance=None, owner=self.name, owner_display_name=self.name, extra=dump_json(extra)
        )
        with create_session() as session:
            session.add(row)


def of_event(event: str) -> Callable[[RightsDep], Iterator[Audit]]:
    """The dependency of a deciding call. It comes first, so it sees each refusal by a later part."""

    def audit(rights: RightsDep) -> Iterator[Audit]:
        made = Audit(event, rights.name)
        try:
            yield made
        except Exception as error:
            if not made.begun:
                made.refuse(error, {})
            raise

    return audit


def rules(error: RequestValidationError) -> str:
    """The broken rules of a call, without its values: JSON cannot write each one."""
    broken = [f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors()]
    return str(shapes.clean(storable("; ".join(broken))))


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return str(error.detail)
    if isinstance(error, RequestValidationError):
        return rules(error)
    if isinstance(error, LedgerError) and not isinstance(error, StaleClaim):
        return "the ledger cannot be used"  # its text names a host
    return one_line(error) if isinstance(error, ProxyOrdersError) else type(error).__name__

"""The rights of a user on the page: those that Airflow gives to the connection of a purchase.

Two rules. The right to read the connection shows a purchase, and the right to edit it lets a user decide. In an Airflow of
several teams a connection counts for its team; one that Airflow's database lacks has no known team, so the page hides it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.configuration import conf
from airflow.models import Connection

Method = Literal["GET", "PUT"]


class Rights:
    """What one user may do; asked once a connection and request."""

    def __init__(self, user: Any):
        self.user = user
        self._known: dict[tuple[Method, str], bool] = {}

    @property
    def name(self) -> str:
        """The user's name, for the history."""
        return str(self.user.get_name())

    def may_read(self, conn_id: str) -> bool:
        """Whether the user sees purchases through a connection."""
        return bool(self.allowed([conn_id], "GET"))

    def may_edit(self, conn_id: str) -> bool:
        """Whether the user decides about purchases through a connection."""
        return bool(self.allowed([conn_id], "PUT")) and self.may_read(conn_id)

    def allowed(self, conn_ids: Iterable[str], method: Method = "GET") -> frozenset[str]:
        """Those of the connections that the user may read, or edit."""
        asked = {*conn_ids}
        new = {conn_id for conn_id in asked if (method, conn_id) not in self._known}
        self._known |= {(method, conn_id): False for conn_id in new}
        for team, of_team in _by_team(new).items():
            allowed = get_auth_manager().filter_authorized_connections(
                conn_ids=of_team, user=self.user, method=method, team_name=team
            )
            self._known |= {(method, conn_id): conn_id in allowed for conn_id in of_team}
        return frozenset(conn_id for conn_id in asked if self._known.get((method, conn_id), False))


def _by_team(conn_ids: set[str]) -> dict[str | None, set[str]]:
    """The connections of each team; ``None`` is the team of all."""
    if not conn_ids:
        return {}
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {None: conn_ids}
    teams: dict[str | None, set[str]] = defaultdict(set)
    for conn_id, team in Connection.get_conn_id_to_team_name_mapping(sorted(conn_ids)).items():
        teams[team].add(conn_id)
    return teams

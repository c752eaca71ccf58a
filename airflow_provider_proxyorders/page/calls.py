"""What every call of the page has in common: log-in, rights, and the header of a call that changes something."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, HTTPException, Request

from airflow_provider_proxyorders.page.reading import Reading
from airflow_provider_proxyorders.page.rights import Rights

#: A form of another site cannot send it.
OWN_HEADER = "X-Proxyorders"
MISSING = "The purchase is missing, or its connection is closed to you."


async def own_call(request: Request) -> None:
    """:raises HTTPException: the call is no JSON, or lacks our header. Nothing was changed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "This call needs JSON. Nothing was changed.")
    if request.headers.get(OWN_HEADER) != "1":
        raise HTTPException(403, f"This call needs the header {OWN_HEADER}. Nothing was changed.")


def rights_of(user: GetUserDep) -> Rights:
    """The rights of the user."""
    return Rights(user)


RightsDep = Annotated[Rights, Depends(rights_of)]


def reading_of(rights: RightsDep) -> Reading:
    """The ledger within the rights of the user."""
    return Reading(rights)


ReadingDep = Annotated[Reading, Depends(reading_of)]


def storable(text: str) -> str:
    """A text that both databases take as a value; one with an odd character equals nothing in the ledger."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")

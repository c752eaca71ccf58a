"""Further tries of a worker's reading calls, after passing trouble and a pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_proxyorders.domain.errors import UnreadableAnswer
from airflow_provider_proxyorders.transport.unreached import Unreached
from airflow_provider_proxyorders.wire.messages import Response

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

#: A reading call is tried so many times in all. Then its last answer counts.
READ_TRIES = 4
#: Seconds. A vendor that asks for a longer pause ends the call, or it would hold a worker for as long.
LONGEST_PAUSE = 20.0
#: A vendor with one of these answers is busy or in trouble, and may answer the next try. 520 to 530 come from the edge in front.
PASSING = frozenset({408, 429, 500, 502, 503, 504, *range(520, 531)})


def reading_tries(sleep: Callable[[float], None]) -> tenacity.Retrying:
    """Calls a sending function again after passing trouble. Its last answer or last :class:`Unreached` counts.

    :param sleep: waits between tries.
    """
    import tenacity

    return tenacity.Retrying(
        sleep=sleep,
        stop=tenacity.stop_any(tenacity.stop_after_attempt(READ_TRIES), _asks_too_long),  # type: ignore[arg-type]
        wait=_pause,
        retry=tenacity.retry_if_exception_type(Unreached) | tenacity.retry_if_result(_is_passing),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )


def read_again_if_unreadable(read: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """Call a reading function again after an unreadable answer: an empty, cut or HTML one is often readable a moment later.

    :param read: runs one reading flow from its start. It moves no money.
    :param sleep: waits between tries.
    :raises UnreadableAnswer: the last one, after :data:`READ_TRIES` tries.
    """
    import tenacity

    return tenacity.Retrying(
        sleep=sleep,
        stop=tenacity.stop_after_attempt(READ_TRIES),
        wait=_growing_pause,
        retry=tenacity.retry_if_exception_type(UnreadableAnswer),
        reraise=True,
    )(read)


def _is_passing(response: Response) -> bool:
    return response.status in PASSING


def _asks_too_long(state: tenacity.RetryCallState) -> bool:
    return _pause_asked_for(state) > LONGEST_PAUSE


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: a growing random time, or the vendor's own wish if it is longer."""
    return max(_growing_pause(state), _pause_asked_for(state))


def _growing_pause(state: tenacity.RetryCallState) -> float:
    import tenacity

    return float(tenacity.wait_random_exponential(multiplier=0.5, max=8)(state))


def _pause_asked_for(state: tenacity.RetryCallState) -> float:
    """The answer's ``Retry-After`` in seconds, 0 without one."""
    if state.outcome is None or state.outcome.failed:
        return 0.0
    return state.outcome.result().retry_after or 0.0

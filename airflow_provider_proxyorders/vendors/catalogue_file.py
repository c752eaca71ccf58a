"""What a vendor declares about a catalogue that is one file outside of its API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from airflow_provider_proxyorders.domain.account import Account
from airflow_provider_proxyorders.domain.model import Quote


class Owner(Protocol):
    """What a catalogue needs of its vendor."""

    @property
    def title(self) -> str: ...

    account: Account

    def setting(self, name: str) -> Any: ...


class CatalogueFile:
    """A catalogue that is one LMDB file, packed with zstd. Its downloads carry no key, and a purchase never waits for it.

    :param vendor: with the connection's settings.
    """

    def __init__(self, vendor: Owner):
        self.vendor, self.account = vendor, vendor.account

    @property
    def host(self) -> str:
        """The address before the names.

        :raises ConfigError: for an invalid one. Nothing was sent.
        """
        raise NotImplementedError

    @property
    def names(self) -> Sequence[str]:
        """Names of files in the order of asking: after a 404 the next one counts."""
        raise NotImplementedError

    @property
    def longest_use(self) -> float:
        """For how many seconds a downloaded file is used."""
        raise NotImplementedError

    def item_id(self, key: bytes) -> int:
        """The item behind a key of the file.

        :raises UnreadableBody: for a key of another kind.
        """
        raise NotImplementedError

    def entry(self, key: bytes, value: bytes) -> dict[str, Any]:
        """One item as the file has it, and the id of the item as a purchase names it.

        :raises UnreadableBody: for an entry that cannot be read.
        """
        raise NotImplementedError

    def item_of(self, body: Mapping[str, Any]) -> int:
        """The item of a purchase that is to be priced.

        :raises UnsupportedOperation: the connection does not say which field holds the price. Nothing was sent.
        """
        raise NotImplementedError

    def quote(self, body: Mapping[str, Any], entry: Mapping[str, Any] | None) -> Quote:
        """The price of a prepared purchase.

        :param entry: of its item; ``None``: the file has no such item.
        :raises InvalidRequest: the purchase breaks a rule that the entry names.
        :raises UnreadableAnswer: the entry names no price.
        """
        raise NotImplementedError

"""The copy of a catalogue on this host: downloaded, unpacked, checked, and used for a while.

Two rules. A file becomes the copy in one step, and only after all of it was checked, so no task meets half a file. An entry that
cannot be read is left out and named; a damaged file is refused as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile, mkstemp
from typing import Any

from airflow_provider_proxyorders.catalogue.lmdb_file import LmdbFile
from airflow_provider_proxyorders.catalogue.unpacking import decoder, unpack
from airflow_provider_proxyorders.domain.errors import ConfigError, ProxyOrdersError, UnreadableAnswer, VendorUnavailable
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody
from airflow_provider_proxyorders.domain.model import Quote
from airflow_provider_proxyorders.transport.download import Download
from airflow_provider_proxyorders.transport.retries import PASSING
from airflow_provider_proxyorders.vendors.catalogue_file import CatalogueFile
from airflow_provider_proxyorders.wire.gate import plain
from airflow_provider_proxyorders.wire.messages import Response

#: Seconds after which a file of the folder that nothing refreshed is deleted.
FORGOTTEN = 7 * 86400
#: So many items that cannot be read are named.
NAMED = 10


@dataclass(frozen=True)
class LocalCopy:
    """One downloaded catalogue.

    :param name: of the file at the vendor.
    :param downloaded: unix seconds.
    """

    path: Path
    name: str
    downloaded: float


@dataclass
class Catalogue:
    """A vendor's catalogue, read from the copy on this host.

    :param folder: of all copies; it is made for this user alone.
    :param clock: the time of day in unix seconds; tests inject one.
    """

    file: CatalogueFile
    folder: Path
    log: logging.Logger
    clock: Callable[[], float] = field(default=time.time)

    def products(self) -> Iterator[dict[str, Any]]:
        """All items, one at a time.

        :raises VendorError: the file cannot be had or read. It moved no money.
        """
        with self._open() as (copy, entries):
            self.log.info("%s, %d items", self._told(copy), entries.entries)
            unreadable: list[str] = []
            for key, value in entries:
                try:
                    product = self.file.entry(key, value)
                except UnreadableBody:
                    unreadable.append(str(self.file.item_id(key)))
                else:
                    yield product
            if unreadable:
                more = "" if len(unreadable) <= NAMED else f" and {len(unreadable) - NAMED} more"
                named = ", ".join(unreadable[:NAMED])
                self.log.warning("%s: left out, since they cannot be read: items %s%s", self._title, named, more)

    def product(self, item_id: int) -> dict[str, Any] | None:
        """One item; ``None``: the catalogue has none with this id.

        :raises VendorError: the file cannot be had or read, or this item cannot.
        """
        with self._open() as (copy, entries):
            self.log.info("%s", self._told(copy))
            return self._entry_of(item_id, entries)

    def quote(self, body: Mapping[str, Any]) -> Quote:
        """The price of a prepared purchase, with the file and its age among its details.

        :raises UnsupportedOperation: the catalogue tells no price. Nothing was sent.
        :raises InvalidRequest: the purchase breaks a rule that the catalogue names.
        """
        item_id = self.file.item_of(body)
        with self._open() as (copy, entries):
            quote = self.file.quote(body, self._entry_of(item_id, entries))
        age = f"{self._age(copy):.0f} s"
        return Quote(quote.price, {**quote.details, "catalogue": copy.name, "age of the catalogue": age})

    # -- the copy -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[LocalCopy, LmdbFile]]:
        try:
            copy = self._current()
            with open(copy.path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                yield copy, LmdbFile(data)
        except ProxyOrdersError:
            raise
        except UnreadableBody as error:
            raise UnreadableAnswer(
                f"{self._title} at {self.file.host} is not what its documentation describes: {error}. This call moves no money."
            ) from None
        except (OSError, ValueError) as error:  # a full disk, a folder without rights, an empty file
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{self._title} cannot be kept in {self.folder} ({reason}). This call moves no money") from None

    def _current(self) -> LocalCopy:
        kept = [copy for name in self.file.names if (copy := self._kept(name))]
        newest = max(kept, key=lambda copy: copy.downloaded, default=None)
        if newest is not None and 0 <= self._age(newest) < self.file.longest_use:
            return newest
        return self._download()

    def _kept(self, name: str) -> LocalCopy | None:
        path = self._path(name)
        try:
            return LocalCopy(path, name, path.stat().st_mtime)
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> Path:
        """The place of a file in the folder: those asked for by one connection have one name there for each list of names."""
        asked = "\n".join((self.file.host, *self.file.names, name))
        return self.folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.lmdb"

    def _download(self) -> LocalCopy:
        decoder()  # before anything is sent
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forget()
        with TemporaryFile(dir=self.folder) as packed:
            name = self._fetch(packed)
            packed.seek(0)
            number, unpacked = mkstemp(".part", dir=self.folder)
            try:
                with open(number, "wb") as file:
                    unpack(packed, file)
                self._check(unpacked)
                os.utime(unpacked, (self.clock(),) * 2)
                os.replace(unpacked, self._path(name))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unpacked)
        return LocalCopy(self._path(name), name, self.clock())

    def _fetch(self, packed: Any) -> str:
        """Download the first file that is there; returns its name.

        :raises VendorUnavailable: none is there, or the host is in trouble.
        """
        download = Download(self.file.account, self.file.host, packed)
        with contextlib.closing(download):
            said, answer = "", Response(404)
            for name in self.file.names:
                if answer.status == 404:
                    answer = download.fetch(name)
                    said = f"{self.file.host}/{name} answered {answer.status}"
                if answer.status == 200:
                    return name
        if target := plain(answer.headers.get("location", "")):
            said += f" and redirects to {target[:300]}"
        raise VendorUnavailable(
            f"{self._title} is not there: {said}. This call moves no money; purchases work without the catalogue.",
            status=answer.status,
            retry="soon" if answer.status in PASSING else "never",
        )

    def _check(self, path: str) -> None:
        """Read all keys and values once.

        :raises UnreadableBody: at the first damage.
        """
        with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            entries = LmdbFile(data)
            count = sum(self.file.item_id(key) >= 0 for key, _ in entries)
        if count != entries.entries:
            raise UnreadableBody(f"an LMDB file of {entries.entries} entries, of which {count} are there")

    def _forget(self) -> None:
        """Delete what nothing uses any more, such as the rest of a download by a killed worker."""
        for path in [*self.folder.glob("*.lmdb"), *self.folder.glob("*.part")]:
            with contextlib.suppress(FileNotFoundError):
                if self.clock() - path.stat().st_mtime > FORGOTTEN:
                    path.unlink()

    def _entry_of(self, item_id: int, entries: LmdbFile) -> dict[str, Any] | None:
        for key, value in entries:
            if self.file.item_id(key) == item_id:
                return self.file.entry(key, value)
        return None

    # -- for people -----------------------------------------------------------------------------------------------

    @property
    def _title(self) -> str:
        return f"{self.file.vendor.title}'s catalogue"

    def _age(self, copy: LocalCopy) -> float:
        return self.clock() - copy.downloaded

    def _told(self, copy: LocalCopy) -> str:
        return f"{self._title} {copy.name}, downloaded {self._age(copy):.0f} s ago"

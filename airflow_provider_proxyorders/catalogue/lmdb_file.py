"""Reads a database of LMDB that is one file, without the library.

One rule: every offset is checked before it is used. The library maps the file and trusts it, so a damaged file would end the
process of a worker with a signal. Here it is an :class:`UnreadableBody`.

The format is that of LMDB 0.9 on 64-bit little-endian machines: two meta pages, then a tree of branch and leaf pages. A long
value has pages of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from airflow_provider_proxyorders.domain.exact_json import UnreadableBody

MAGIC, VERSION = 0xBEEFC0DE, 1
#: Sizes of a page that LMDB can write.
PAGE_SIZES = frozenset(2**power for power in range(8, 17))
#: Levels of the tree; LMDB itself ends at 32.
DEEPEST = 32
#: Bytes of one value. A longer one is no entry of a catalogue.
LONGEST_VALUE = 1024 * 1024

BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
#: The value is on pages of its own.
BIG = 0x01
NO_PAGE = 2**64 - 1
_HEADER = struct.Struct("<QHHHH")  # number, -, flags, end of the places of nodes, begin of the nodes
_PAGES = struct.Struct("<I")  # how many pages a long value takes, in the place of the two ends
_META = struct.Struct("<IIQQ48sIHHQQQQQQQ")  # magic, version, -, -, the free pages, then the main tree; last page, transaction
_NODE = struct.Struct("<HHHH")  # two halves of a size, flags, size of the key
_PAGE = struct.Struct("<Q")


class _Root(NamedTuple):
    """The newest state of the file."""

    transaction: int
    page: int
    entries: int
    pages: int


class LmdbFile:
    """The entries of one file.

    :param data: the whole file.
    :ivar entries: how many the file says it has.
    :raises UnreadableBody: it is no such file, or a part of it is missing.
    """

    def __init__(self, data: bytes | mmap):
        self._data = data
        self._size = self._page_size()
        root = max(self._meta(0), self._meta(self._size))
        if root.pages * self._size > len(data):
            raise UnreadableBody(f"an LMDB file of {root.pages * self._size} bytes, of which {len(data)} are there")
        self._pages, self._root, self.entries = root.pages, root.page, root.entries
        self._left = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in the order of the keys.

        :raises UnreadableBody: at the first damage.
        """
        self._left = self._pages
        if self._root != NO_PAGE:
            yield from self._below(self._root, DEEPEST)

    def _page_size(self) -> int:
        if len(self._data) < 2 * min(PAGE_SIZES) or _META.unpack_from(self._data, _HEADER.size)[:2] != (MAGIC, VERSION):
            raise UnreadableBody("no LMDB file of version 0.9")
        (size,) = struct.unpack_from("<I", self._data, _HEADER.size + 24)  # the first field of the tree of free pages
        if size not in PAGE_SIZES or len(self._data) < 2 * size:
            raise UnreadableBody(f"an LMDB file with pages of {size} bytes, of which {len(self._data)} bytes are there")
        return int(size)

    def _meta(self, offset: int) -> _Root:
        flags = _HEADER.unpack_from(self._data, offset)[2]
        magic, version, _, _, _, _, kind, _, _, _, _, entries, root, last, transaction = _META.unpack_from(
            self._data, offset + _HEADER.size
        )
        if not flags & META or (magic, version) != (MAGIC, VERSION):
            raise UnreadableBody("an LMDB file with a damaged first page")
        if kind:
            raise UnreadableBody(f"an LMDB file with keys of kind {kind}, expected was 0")
        return _Root(transaction, root, entries, last + 1)

    def _below(self, number: int, levels: int) -> Iterator[tuple[bytes, bytes]]:
        """The entries of a page and of all pages below it."""
        offset, flags, lower = self._page(number)
        if not levels or not flags & (BRANCH | LEAF):
            raise UnreadableBody(f"an LMDB file with a damaged page {number}")
        for place in range(offset + _HEADER.size, offset + lower, 2):
            start = offset + int.from_bytes(self._data[place : place + 2], "little")
            if start + _NODE.size > offset + self._size:
                raise UnreadableBody(f"an LMDB file with a damaged page {number}")
            low, high, node, length = _NODE.unpack_from(self._data, start)
            start += _NODE.size
            if flags & BRANCH:
                yield from self._below(low | high << 16 | node << 32, levels - 1)
            else:
                yield self._part(start, length, number), self._value(start + length, low | high << 16, node, number)

    def _value(self, start: int, length: int, node: int, number: int) -> bytes:
        if node & ~BIG or length > LONGEST_VALUE:
            raise UnreadableBody(f"an LMDB file with a value that no catalogue has, on page {number}")
        if not node:
            return self._part(start, length, number)
        own = _PAGE.unpack(self._part(start, _PAGE.size, number))[0]
        offset, flags, _ = self._page(own)
        (pages,) = _PAGES.unpack_from(self._data, offset + _HEADER.size - _PAGES.size)
        room = min(pages, self._pages - own) * self._size - _HEADER.size
        if not flags & OVERFLOW or length > room:
            raise UnreadableBody(f"an LMDB file with a damaged page {own}")
        self._count(length // self._size)
        return self._data[offset + _HEADER.size : offset + _HEADER.size + length]

    def _part(self, start: int, length: int, number: int) -> bytes:
        """Bytes within one page."""
        if start + length > (number + 1) * self._size:
            raise UnreadableBody(f"an LMDB file with a damaged page {number}")
        return self._data[start : start + length]

    def _page(self, number: int) -> tuple[int, int, int]:
        """Offset, flags and the end of the places of a page."""
        self._count(1)
        if not 2 <= number < self._pages:
            raise UnreadableBody(f"an LMDB file with a reference to page {number}, which is missing")
        offset = number * self._size
        itself, _, flags, lower, _ = _HEADER.unpack_from(self._data, offset)
        if itself != number or (not flags & OVERFLOW and lower > self._size):
            raise UnreadableBody(f"an LMDB file with a damaged page {number}")
        return offset, flags, lower

    def _count(self, pages: int) -> None:
        """Pages that are read. In a tree each page has one place, so a file that leads in circles ends here."""
        self._left -= pages
        if self._left < 0:
            raise UnreadableBody("an LMDB file that refers to one page twice")

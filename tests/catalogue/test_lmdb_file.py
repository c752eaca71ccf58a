"""Our reader of LMDB files beside the library that writes them, and at files that are damaged in any way."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import lmdb
import pytest

from airflow_provider_proxyorders.catalogue.lmdb_file import LmdbFile
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody

SHORT, LONG = b"v" * 90, b"w" * 9000
PAGE = 4096


def key(number: int) -> bytes:
    return struct.pack(">Q", number)


def write(path: Path, entries: dict[bytes, bytes], gone: set[bytes] | frozenset[bytes] = frozenset()) -> bytes:
    """The file that the library writes. Entries that are deleted again leave free pages behind."""
    with lmdb.open(str(path), subdir=False, lock=False, map_size=2**28) as database:
        with database.begin(write=True) as writing:
            for name, value in entries.items():
                writing.put(name, value)
        with database.begin(write=True) as writing:
            for name in gone:
                writing.delete(name)
    return path.read_bytes()


def some(count: int, seed: int = 1) -> dict[bytes, bytes]:
    chance = random.Random(seed)
    lengths = [0, 1, 40, 300, 1900, 2100, 4080, 9000]
    return {key(chance.randrange(2**44)): bytes([number % 251]) * chance.choice(lengths) for number in range(count)}


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(LmdbFile(data))


@pytest.mark.parametrize("count", [0, 1, 2, 40, 3000])
def test_it_reads_what_the_library_wrote(tmp_path: Path, count: int) -> None:
    entries = some(count)
    gone = set(list(entries)[::3])
    kept = {name: value for name, value in entries.items() if name not in gone}
    file = LmdbFile(write(tmp_path / "file", entries, gone))
    assert list(file) == sorted(kept.items())
    assert file.entries == len(kept)
    assert list(file) == sorted(kept.items()), "it can be read again"


def test_the_newest_state_counts(tmp_path: Path) -> None:
    for number in range(5):
        data = write(tmp_path / "file", {key(1): b"%d" % number})
        assert read(data) == [(key(1), b"%d" % number)]


def test_a_copy_that_the_library_made_compact(tmp_path: Path) -> None:
    entries = some(500)
    write(tmp_path / "file", entries, gone=set(list(entries)[:200]))
    with lmdb.open(str(tmp_path / "file"), subdir=False, readonly=True, lock=False) as database:
        database.copy(str(tmp_path / "compact"), compact=True)
    (copied,) = (path for path in [tmp_path / "compact", tmp_path / "compact/data.mdb"] if path.is_file())
    assert read(copied.read_bytes()) == sorted(list(entries.items())[200:])


class TestDamage:
    @pytest.fixture
    def data(self, tmp_path: Path) -> bytearray:
        return bytearray(write(tmp_path / "file", {key(number): SHORT if number % 9 else LONG for number in range(300)}))

    @pytest.mark.parametrize("content", [b"", b"no database", bytes(100_000), b"\xff" * 100_000, b"<html>" * 5000])
    def test_another_file(self, content: bytes) -> None:
        with pytest.raises(UnreadableBody, match="no LMDB file"):
            read(content)

    def test_every_cut(self, data: bytearray) -> None:
        """The library dies of a bus error at most of them."""
        last = struct.unpack_from("<Q", data, 16 + 120)[0], struct.unpack_from("<Q", data, PAGE + 16 + 120)[0]
        needed = (max(last) + 1) * PAGE
        for length in [*range(0, needed, PAGE), *range(0, needed, 1777)]:
            with pytest.raises(UnreadableBody):
                read(bytes(data[:length]))

    def test_any_damage_is_told_or_harmless(self, data: bytearray) -> None:
        """Bytes of heads, places and nodes are changed. Nothing but our own error may come, and in time."""
        chance, told = random.Random(5), 0
        for _ in range(800):
            damaged = data.copy()
            page = chance.randrange(len(data) // PAGE) * PAGE
            for _ in range(chance.randint(1, 6)):
                damaged[page + chance.randrange(200)] = chance.choice([0, 1, 2, 4, 8, 127, 128, 255, chance.randrange(256)])
            try:
                assert all(isinstance(value, bytes) for _, value in read(bytes(damaged)))
            except UnreadableBody:
                told += 1
        assert told > 60

    def test_a_tree_that_leads_back_to_itself(self, data: bytearray) -> None:
        """Such a tree would have more entries than a machine can count."""
        root = next(number for number in range(2, len(data) // PAGE) if data[number * PAGE + 10] == 1)
        count = (struct.unpack_from("<H", data, root * PAGE + 12)[0] - 16) // 2
        for place in range(count):
            node = struct.unpack_from("<H", data, root * PAGE + 16 + 2 * place)[0]
            struct.pack_into("<HHH", data, root * PAGE + node, root, 0, 0)
        with pytest.raises(UnreadableBody, match="twice|damage"):
            read(bytes(data))

    def test_a_long_value_that_many_entries_share(self, data: bytearray) -> None:
        """Each entry names the same pages, so a small file would be read as a huge one."""
        shared = next(number for number in range(2, len(data) // PAGE) if data[number * PAGE + 10] == 4)
        for page in range(2, len(data) // PAGE):
            start = page * PAGE
            if data[start + 10] != 2:
                continue
            for place in range(start + 16, start + struct.unpack_from("<H", data, start + 12)[0], 2):
                node = start + struct.unpack_from("<H", data, place)[0]
                if data[node + 4] == 1:
                    struct.pack_into("<Q", data, node + 16, shared)
        assert len(dict(read(bytes(data)))) == 300, "within the number of pages it is harmless"

    @pytest.mark.parametrize("named", ["integerkey", "dupsort"])
    def test_a_database_of_another_kind(self, tmp_path: Path, named: str) -> None:
        with lmdb.open(str(tmp_path / "file"), subdir=False, lock=False, map_size=2**24, max_dbs=2) as database:
            inner = database.open_db(b"inner", **{named: True})
            with database.begin(write=True, db=inner) as writing:
                writing.put(key(1) if named == "dupsort" else struct.pack("@N", 1), b"x")
        with pytest.raises(UnreadableBody):
            read((tmp_path / "file").read_bytes())

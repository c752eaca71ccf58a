"""Unpacks a file that zstd packed, within bounds of memory and disk."""

from __future__ import annotations

from types import ModuleType
from typing import BinaryIO

from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.domain.exact_json import UnreadableBody

#: Bytes of an unpacked file. A hundred thousand items of half a kilobyte take 64 MiB.
MOST_UNPACKED = 1024 * 1024 * 1024
#: Bytes that a file may refer back to, and that unpacking keeps in memory: what zstd itself takes from an unknown file.
LARGEST_WINDOW = 128 * 1024 * 1024
#: Packed bytes for one step. Four of them can stand for 128 KiB, so a step makes 16 MiB at most.
STEP = 512


def decoder() -> ModuleType:
    """The library for zstd.

    :raises ConfigError: it is not installed. Nothing was sent.
    """
    try:
        import zstandard
    except ImportError:
        raise ConfigError(
            "this catalogue is a file packed with zstd, and the library for it is missing. Nothing was sent. Install it with "
            "pip install 'airflow-provider-proxyorders[voodoo-catalogue]'"
        ) from None
    return zstandard


def unpack(packed: BinaryIO, unpacked: BinaryIO) -> None:
    """Unpack a whole file.

    :raises UnreadableBody: it is of another kind, cut, or longer than :data:`MOST_UNPACKED`.
    """
    zstandard = decoder()
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    frame, length, waiting = decompressor.decompressobj(), 0, b""
    started = False
    while part := waiting or packed.read(STEP):
        waiting = b""
        try:
            made = frame.decompress(part)
        except zstandard.ZstdError as error:
            raise UnreadableBody(f"no file that zstd packed ({error})") from None
        started = True
        length += len(made)
        if length > MOST_UNPACKED:
            raise UnreadableBody(f"a file of more than {MOST_UNPACKED} bytes when unpacked")
        unpacked.write(made)
        if frame.eof:
            frame, waiting, started = decompressor.decompressobj(), frame.unused_data, False
    if started or not length:
        raise UnreadableBody("a packed file without its end")

"""``python -m tests.leaks [FOLDER]``: exit status 0 when no secret was found and a planted one was.

:param FOLDER: an empty folder to work in, which is kept; by default a temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from .play import play


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="proxyorders-leaks-") as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        result = play(Path(__file__).resolve().parents[2], folder, say=lambda text: print(f"  {text}", flush=True))
    print(f"\nlooked into {result.places} files and tables, {result.size / 1e6:.1f} MB")
    print(f"secrets that were delivered where they belong: {result.flowed}")
    print(f"fields that hostile vendors filled with keys and templates: {result.spoilt}")
    print(f"leaks: {len(result.clean)}")
    for hit in result.clean:
        print(f"  {hit}")
    print(f"what a careless user's task logged: {sorted({hit.where for hit in result.careless})}")
    print(f"a planted leak was found in {len({hit.where for hit in result.planted})} places:")
    for (kind, form), count in sorted(Counter((hit.kind, hit.form) for hit in result.planted).items()):
        print(f"  {kind} ({form}): {count}")
    planted = {hit.kind for hit in result.planted}
    proved = all(result.flowed.values()) and all(result.spoilt.values()) and "rendered template" in planted and len(planted) > 1
    return 0 if not result.clean and proved else 1


if __name__ == "__main__":
    sys.exit(main())

"""What an install adds to Airflow's official image, by resolution alone: nothing that the image has may change.

It asks a package index, so it runs only with ``PROXYORDERS_IMAGE`` set: to the file or address of Airflow's constraints, or to
``newest`` for the newest packages that fit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")
CONSTRAINTS = os.environ.get("PROXYORDERS_IMAGE", "")
#: The image of 3.3 has Python 3.12, and these extras by its Dockerfile.
PYTHON, AIRFLOW = "3.12", "3.3.2"
EXTRAS = (
    "aiobotocore,amazon,async,celery,cncf-kubernetes,common-io,common-messaging,docker,elasticsearch,fab,ftp,git,google,"
    "google-auth,graphviz,grpc,hashicorp,http,ldap,microsoft-azure,mysql,odbc,openlineage,pandas,postgres,redis,sendgrid,sftp,"
    "slack,snowflake,ssh,statsd,uv"
)

pytestmark = pytest.mark.skipif(not CONSTRAINTS, reason="needs a package index: set PROXYORDERS_IMAGE to constraints, or newest")


def resolved(tmp_path: Path, *requirements: str, constraints: str | None = None) -> tuple[dict[str, str], Path]:
    """Names and versions of all packages that these requirements bring, and the file with them."""
    wanted, locked = tmp_path / "wanted.in", tmp_path / f"locked-{len(requirements)}.txt"
    wanted.write_text("\n".join(requirements))
    command = [UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PYTHON, wanted, "-o", locked]
    done = subprocess.run([*command, *(["-c", constraints] if constraints else [])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", locked.read_text(), re.MULTILINE)), locked


@pytest.mark.parametrize(
    ("extras", "adds"),
    [("", {"simplejson"}), ("[postgres]", {"simplejson"}), ("[postgres,voodoo-catalogue]", {"simplejson", "zstandard"})],
)
def test_what_an_install_adds_to_the_official_image(project: Path, tmp_path: Path, extras: str, adds: set[str]) -> None:
    airflow = f"apache-airflow[{EXTRAS}]=={AIRFLOW}"
    image, locked = resolved(tmp_path, airflow, constraints=None if CONSTRAINTS == "newest" else CONSTRAINTS)
    ours, _ = resolved(tmp_path, airflow, f"{project}{extras}", constraints=str(locked))
    assert len(image) > 200 and {name: version for name, version in ours.items() if name in image} == image
    assert ours.keys() - image.keys() == adds

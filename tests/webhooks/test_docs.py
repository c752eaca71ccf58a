"""The test command of docs/webhooks.md, run as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import SECRET, Running


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="needs curl and openssl")
@pytest.mark.parametrize(("secret", "status"), [(SECRET, "200"), ("a guess", "401")])
def test_the_curl_command(running: Running, project: Path, secret: str, status: str) -> None:
    page = (project / "docs" / "webhooks.md").read_text()
    (command,) = re.findall(r"```bash\nSECRET=.*?\n(body=.*?)```", page, re.DOTALL)
    address = "https://airflow.example.com/proxyorders/webhooks"
    assert address in command
    script = command.replace(address, running.url).replace("curl -i", "curl -s -i --noproxy '*'")
    environment = {**os.environ, "SECRET": secret}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split()[1] == status
    assert [hint.order_id for hint in running.kept()] == (["test-1"] if status == "200" else [])

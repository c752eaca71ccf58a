"""``python -m airflow_provider_proxyorders.sandbox``"""

from __future__ import annotations

import sys

from airflow_provider_proxyorders.sandbox.standalone import serve

sys.exit(serve())

"""Takes the pictures in ``docs/images`` from a real Airflow; ``make screenshots``. It needs a Chromium on the machine."""

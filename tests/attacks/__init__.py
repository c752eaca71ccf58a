"""Every attack of ``docs/security.md`` and the guard that stops it: ``python -m tests.attacks`` takes each guard away."""

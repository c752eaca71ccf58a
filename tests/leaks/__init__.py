"""P8: secrets stay secret. ``python -m tests.leaks`` runs the scan and says where it looked and what it found."""

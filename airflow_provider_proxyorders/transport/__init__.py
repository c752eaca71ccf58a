"""The only code that knows HTTP: drivers for a vendor's flow, one client for workers, one for the triggerer."""

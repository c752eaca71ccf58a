"""Messages between a vendor's flow and its driver, without I/O."""

"""The command proxyorders."""

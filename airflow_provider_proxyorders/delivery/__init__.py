"""The proxies or codes of an order: file formats, the file itself, and the proxy check."""

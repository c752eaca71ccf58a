"""A vendor's catalogue that is a file: its download, its copy on this host, and its entries."""

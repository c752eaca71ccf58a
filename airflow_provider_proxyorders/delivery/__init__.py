"""What an order yielded: file formats and proxy checks."""

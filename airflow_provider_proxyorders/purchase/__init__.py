"""The only code that spends: place, extend, settle; and what tracks an order until it is usable."""

"""Measures of the house: sizes of code and plainness of prose, each beside its target."""

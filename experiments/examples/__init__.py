"""Examples: the tour over all families and uses of p(x)."""

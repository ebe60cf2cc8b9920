"""Examples: the tour, uses of a density, the blind spot, and importing a loss."""

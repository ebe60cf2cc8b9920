"""Examples: the tour, a lecture, own photos, uses of a density, blind spot, importing a loss."""

"""A gallery: runs and weights as a static site. `python -m experiments.gallery --out DIR`.

`capabilities.py` makes the map from the families' protocols, `entries.py` reads runs and weights,
`panels.py` computes the figures that a visitor moves, `site.py` writes the pages.
"""

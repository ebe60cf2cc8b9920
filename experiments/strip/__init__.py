"""The strip of pictures of README: one panel per weights file. `python -m experiments.strip`.

`panels.py` makes the images of a panel from weights, `page.py` draws panels with their labels,
`__main__.py` is the command and the table of panels.
"""

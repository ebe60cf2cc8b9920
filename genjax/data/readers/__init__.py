"""Files as people bring them, read one example at a time."""

from genjax.data.readers.source import Field, Reading, Source

__all__ = ["Field", "Reading", "Source"]

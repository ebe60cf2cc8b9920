"""The checksum that identifies an extractor's weights."""

import numpy as np

from genjax.evals.feature_extractor import checksum


def test_checksum_depends_on_names_and_values_but_not_on_their_order():
    x, y = np.arange(3.0), np.ones(2)
    given = checksum({"a": {"kernel": x}, "b": y})
    assert len(given) == 8
    assert checksum({"b": y, "a": {"kernel": x}}) == given
    other = [{"a": {"bias": x}, "b": y}, {"a": {"kernel": x}, "b": 2 * y}]
    assert given not in map(checksum, other)

"""Order of the training examples, a function of (seed, epoch, domain)."""

import numpy as np

from genjax import checks

DOMAIN = 2**40
"""Distance between the first Philox streams of two domains; each epoch uses one stream."""


class Order:
    """An endless sequence of example indices, with a new permutation in each epoch.

    Batches cross epochs: each epoch uses every example once, whatever the batch size. Unpaired data
    has one order per `domain`.
    """

    def __init__(self, n: int, seed: int, domain: int = 0) -> None:
        checks.positive(examples=n)
        checks.not_negative(seed=seed, domain=domain)
        self.n, self.seed, self.domain = n, seed, domain
        self._epochs: dict[int, np.ndarray] = {}

    def epoch(self, epoch: int) -> np.ndarray:
        """Returns the permutation of one epoch, int32 `[n]`.

        It ranks raw Philox output, which NumPy keeps between versions, unlike `shuffle`.
        """
        permutation = self._epochs.get(epoch)
        if permutation is None:
            stream = self.domain * DOMAIN + epoch
            raw = np.random.Philox(key=[self.seed, stream]).random_raw(self.n)
            permutation = np.argsort(raw, kind="stable").astype(np.int32)
            # A new dict, never changed: threads share it.
            previous = {e: p for e, p in self._epochs.items() if e == epoch - 1}
            self._epochs = {**previous, epoch: permutation}
        return permutation

    def take(self, start: int, count: int) -> np.ndarray:
        """Returns the indices at positions start .. start + count - 1, int32 `[count]`."""
        first, last = start // self.n, (start + count - 1) // self.n
        epochs = np.concatenate([self.epoch(e) for e in range(first, last + 1)])
        return epochs[start - first * self.n :][:count]

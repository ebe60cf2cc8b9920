"""Which examples a batch holds: one function of (seed, epoch), and the position is the step."""

import numpy as np

from genjax import checks


class Order:
    """An endless sequence of example indices, each epoch its own permutation.

    Batch boundaries run across epochs, so that every example is seen exactly once in every `n`,
    whatever the batch size.
    """

    def __init__(self, n: int, seed: int) -> None:
        """Order of `n` examples, above 0, under a seed of 0 or above."""
        checks.positive(examples=n)
        checks.not_negative(seed=seed)
        self.n, self.seed = n, seed
        self._epochs: dict[int, np.ndarray] = {}

    def epoch(self, epoch: int) -> np.ndarray:
        """The permutation of one epoch, `[n]`, from (seed, epoch) alone.

        Ranks of Philox's raw output: numpy promises to keep that stream between versions, and
        does not promise it of `shuffle`.
        """
        found = self._epochs.get(epoch)
        if found is None:
            raw = np.random.Philox(key=[self.seed, epoch]).random_raw(self.n)
            found = np.argsort(raw, kind="stable").astype(np.int32)
            # Made anew and never changed: threads that read share it.
            kept = {e: p for e, p in self._epochs.items() if e == epoch - 1}
            self._epochs = {**kept, epoch: found}
        return found

    def take(self, start: int, count: int) -> np.ndarray:
        """Indices at positions start .. start + count - 1: `[count]` int32."""
        first, last = start // self.n, (start + count - 1) // self.n
        whole = np.concatenate([self.epoch(e) for e in range(first, last + 1)])
        return whole[start - first * self.n :][:count]

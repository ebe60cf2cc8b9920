"""What is measured. Knows families by what they export, never by name."""

from genjax.evals.likelihood import make_nll, mean_and_error, metric, nll

__all__ = ["make_nll", "mean_and_error", "metric", "nll"]

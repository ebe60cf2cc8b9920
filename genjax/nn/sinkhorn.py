"""Sinkhorn's iterations: from scores to a matrix whose rows and columns sum to one."""

import jax


def log_sinkhorn(scores: jax.Array, iterations: int) -> jax.Array:
    """Computes log P of a doubly stochastic P, `[..., N, N] -> [..., N, N]` nats.

    P_ij = u_i exp(scores_ij) v_j. Columns and then rows are normalised in turn, in the log domain.
    After any number of iterations rows sum to one; columns do in the limit. The limit maximises
    sum P (scores - log P) over doubly stochastic matrices, and as `scores / t` with t -> 0 tends to
    the permutation of the largest sum of scores.

    Source: Mena et al. 2018, "Learning Latent Permutations with Gumbel-Sinkhorn Networks"
    (arXiv:1802.08665), equation 2; Cuturi 2013, "Sinkhorn Distances" (arXiv:1306.0895).

    Args:
      scores: finite, in nats.
      iterations: normalisations of columns and rows; 0 is a softmax of each row.
    """

    def iteration(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.nn.log_softmax(jax.nn.log_softmax(x, axis=-2), axis=-1), None

    start = jax.nn.log_softmax(scores, axis=-1)
    return jax.lax.scan(iteration, start, length=iterations)[0]

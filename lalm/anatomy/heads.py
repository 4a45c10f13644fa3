"""Which heads copy, which attend to what is like them, which compose."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.anatomy import numbers
from lalm.linear_operators.products import matmul
from lalm.models.weights import Weights
from lalm.spectral import checks
from lalm.spectral import circuits
from lalm.spectral import quadratic_forms
from lalm.spectral import rank

_DIGITS = 4


def report(weights: Weights) -> dict[str, Any]:
  """Returns numbers of each head, `[layers][heads]`, and of pairs of heads.

  Args:
    weights: of a model whose heads are known.

  Raises:
    ValueError: a number of heads that is not known, or no layer.
  """
  if weights.heads is None:
    raise ValueError("weights: expected a number of heads, got none told")
  own = {m.layer for m in weights.matrices if m.role == "q"}
  layers = sorted(layer for layer in own if layer is not None)
  if not layers:
    raise ValueError("weights: expected layers with q, k, v and o, got none")
  stack = lambda role: jnp.stack([weights.of(role, i) for i in layers])
  # Nothing that is told of a head depends on its scale.
  qk = circuits.scaled(circuits.qk(stack("q"), stack("k"), weights.heads))
  ov = circuits.scaled(circuits.ov(stack("o"), stack("v"), weights.heads))
  signs = circuits.form_values(qk)
  tokens = _vocabulary(weights.of("embedding"), ov)
  return {
      "copying": _short(circuits.copying(ov)),
      "copying_tokens": _short(tokens),
      "symmetry": _short(_symmetry(qk)),
      "positive": _short(quadratic_forms.of_values(signs).positive),
      "negative": _short(quadratic_forms.of_values(signs).negative),
      "like": _short(jnp.sum(signs, -1) / jnp.sum(jnp.abs(signs), -1)),
      "qk_rank": _short(rank.stable_rank(circuits.values(qk))),
      "ov_rank": _short(rank.stable_rank(circuits.values(ov))),
      "composition": _composition(qk, ov),
      # What writes and reads directions at random scores so, on average.
      "unrelated": float(f"{ov.left.shape[-2] ** -0.5:.{_DIGITS}g}"),
  }


def _vocabulary(embedding: np.ndarray, ov: circuits.Factored) -> jax.Array:
  """Copying from tokens to tokens, by the eigenvalues of E M E^T.

  Those of (E L)(E R)^T are those of R^T (E^T E) L, where the vocabulary is
  gone. Its mean says nothing of a token, and is taken out.
  """
  centred = jnp.asarray(embedding - embedding.mean(axis=0))
  centred, _ = checks.scaled(centred)
  gram = matmul(centred.T, centred)
  left = matmul(gram, ov.left)
  return circuits.copying(circuits.Factored(left, ov.right))


def _symmetry(circuit: circuits.Factored) -> jax.Array:
  """(|S|^2 - |A|^2) / |M|^2 = tr(M M) / |M|^2, from the factors."""
  small = matmul(circuit.right.mT, circuit.left)
  size = jnp.sum(circuits.values(circuit) ** 2, axis=-1)
  both = jnp.einsum("...ij,...ji->...", small, small, precision="highest")
  return both / jnp.where(size > 0, size, 1)


def _composition(
    qk: circuits.Factored, ov: circuits.Factored
) -> dict[str, Any]:
  """Scores `[later layer][head][earlier layer][head]`, None where not later."""
  after = {"q": circuits.turned(qk), "k": qk, "v": ov}
  found: dict[str, Any] = {}
  for name, second in after.items():
    scores = circuits.composition(
        jax.tree.map(lambda x: x[:, :, None, None], second), ov
    )
    layers = np.arange(scores.shape[0])
    later = layers[:, None, None, None] > layers[:, None]
    found[name] = _short(np.where(later, scores, np.nan))
  return found


def _short(x: Any) -> Any:
  return numbers.short(x, _DIGITS)

"""What attention maps and the residual stream of a text say, in numbers.

Everything is of one pass of a trained model over stretches of a text: of each
layer and head the entropy of its map, its effective rank, what a quarter of its
singular values captures; of each layer how far its tokens are from equal, in
the model as it is and without its skips and networks, and how much it changes
the stream (CKA).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.anatomy import numbers
from lalm.models import captured
from lalm.spectral import lapack
from lalm.spectral import maps
from lalm.spectral import rank
from lalm.spectral import similarity

_DIGITS = 4
_CURVE = 32  # points of a cumulative curve
Capture = Callable[..., captured.Captured]


def report(capture: Capture, variants: bool) -> dict[str, Any]:
  """Returns the numbers of a text.

  Args:
    capture: returns what the model computes; takes `skips` and `network` if
      there are variants.
    variants: whether the model can be without them.
  """
  found = capture()
  values = lapack.singular_values(np.asarray(found.attention, np.float64))
  share = np.asarray(maps.captured(values))
  size = share.shape[-1]
  own = {
      "entropy": np.asarray(maps.entropy(found.attention)),
      "effective_rank": rank.effective_rank(values),
      "captured": share[..., max(0, size // 4 - 1)],
  }
  some = np.unique(np.linspace(0, size - 1, min(size, _CURVE)).astype(int))
  streams = {"whole": found}
  if variants:
    streams["no skips"] = capture(skips=False)
    streams["no networks"] = capture(network=False)
    streams["attention alone"] = capture(skips=False, network=False)
  return {
      # Means over sequences: `[layers][heads]`.
      **{name: _short(x.mean(axis=1)) for name, x in own.items()},
      "curve_places": [int(x) + 1 for x in some],
      "curve": _short(share.mean(axis=(1, 2))[:, some]),
      "alike": _short(np.asarray(_alike(found.hidden))),
      "residual": {
          name: _short(np.asarray(maps.residual(one.hidden)).mean(axis=1))
          for name, one in streams.items()
      },
  }


def _alike(hidden: jax.Array) -> jax.Array:
  """CKA of the stream after each layer with what it was before."""
  layers = hidden.reshape(len(hidden), -1, hidden.shape[-1])
  return jnp.diagonal(similarity.cka(layers[1:], layers[:-1]))


def _short(x: Any) -> Any:
  return numbers.short(x, _DIGITS)

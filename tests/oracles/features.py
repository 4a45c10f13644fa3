"""Feature maps in NumPy float64, written from the papers.

A feature map takes `[..., K]` to `[..., F]`. elu(x) + 1 is the map of
Katharopoulos et al. 2020 (eq. 7); relu and its square are the sparse maps used
after it; `exponential` is softmax over the features, the stabilised form of
exp(x), positive and of unit sum.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]


def elu_plus_one(x: ArrayLike) -> Array:
  """x + 1 where x > 0, exp(x) elsewhere."""
  x = np.asarray(x, np.float64)
  return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def relu(x: ArrayLike) -> Array:
  """The positive part."""
  return np.maximum(np.asarray(x, np.float64), 0)


def squared_relu(x: ArrayLike) -> Array:
  """The square of the positive part."""
  return relu(x) ** 2


def identity(x: ArrayLike) -> Array:
  """The features are the inputs."""
  return np.asarray(x, np.float64)


def exponential(x: ArrayLike) -> Array:
  """exp(x - logsumexp(x)) over the feature axis."""
  x = np.asarray(x, np.float64)
  return np.exp(x - logsumexp(x, axis=-1, keepdims=True))


MAPS = {
    "elu_plus_one": elu_plus_one,
    "relu": relu,
    "squared_relu": squared_relu,
    "identity": identity,
    "exponential": exponential,
}

"""Matrices of prescribed spectra."""

import numpy as np


def orthogonal(rows, columns, seed=0):
  """Columns that are orthonormal, float64."""
  drawn = np.random.default_rng(seed).normal(size=(rows, columns))
  return np.linalg.qr(drawn)[0]


def prescribed(shape, values, seed=0):
  """A matrix of these singular values, float64."""
  values = np.asarray(values, np.float64)
  left = orthogonal(shape[0], values.size, seed)
  right = orthogonal(shape[1], values.size, seed + 1)
  return (left * values) @ right.T


def symmetric(values, seed=0):
  """A symmetric matrix of these eigenvalues, float64."""
  vectors = orthogonal(len(values), len(values), seed)
  return (vectors * np.asarray(values, np.float64)) @ vectors.T

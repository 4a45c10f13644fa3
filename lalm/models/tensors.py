"""Safetensors files: arrays by name, and the notes beside them.

Nothing is ever unpickled; a header that is damaged, longer than its file or of
another kind is an error of one line.
"""

from collections.abc import Collection, Iterator
import contextlib
import os
from typing import Any, NamedTuple

import numpy as np
import safetensors


class Tensors(NamedTuple):
  """What a file holds.

  Attributes:
    arrays: by name.
    notes: its metadata.
  """

  arrays: dict[str, np.ndarray]
  notes: dict[str, str]


def read(path: str | os.PathLike[str], kinds: Collection[str] = ()) -> Tensors:
  """Returns a file's arrays and notes.

  Args:
    path: of the file.
    kinds: of numbers, as safetensors names them; arrays of others are left
      out. All are read if none is given.

  Raises:
    ValueError: no such file, one that is not whole, or of another kind.
  """
  with _opened(path) as file:
    names = [
        name
        for name in file.keys()
        if not kinds or file.get_slice(name).get_dtype() in kinds
    ]
    arrays = {name: file.get_tensor(name) for name in names}
    return Tensors(arrays, file.metadata() or {})


def notes(path: str | os.PathLike[str]) -> dict[str, str]:
  """Returns a file's notes; raises as `read` does."""
  with _opened(path) as file:
    return file.metadata() or {}


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      yield file
  except (OSError, AttributeError, safetensors.SafetensorError) as error:
    # AttributeError: of numbers that NumPy does not know.
    raise ValueError(
        f"{os.fspath(path)}: expected a whole safetensors file, got"
        f" {str(error) or type(error).__name__}"
    ) from error

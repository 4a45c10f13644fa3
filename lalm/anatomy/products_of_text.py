"""The target of `conditioning`: each role's products in a text, in 16 bits."""

import pathlib
import sys
from typing import Any

from lalm import roles
from lalm.anatomy import precision
from lalm.anatomy import subject
from lalm.anatomy import target
from lalm.data import text
from lalm.models import weights
from lalm.spectral import condition
from lalm.spectral import lapack
from lalm.spectral import rank
from lalm.spectral import rounding

FORM = "products"
names, get = target.catalogue(roles.OF_LAYERS, FORM)


def _analysis(
    point: target.Point,
    path: pathlib.Path,
    replicate: int,
    settings: target.Settings,
) -> dict[str, Any]:
  del settings  # nothing is timed
  found = subject.read(
      path,
      point["corpus"],
      point["batch"],
      point["length"],
      point["seed"] + replicate,
  )
  own = weights.read(path).of_role(point["mechanism"])
  return {"matrices": precision.report(own, found.capture().inputs)}


TARGET = target.Target(
    _analysis, sys.modules[__name__], precision, subject, weights, condition,
    lapack, rank, rounding, text, also=target.read,
)  # fmt: skip

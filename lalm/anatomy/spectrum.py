"""The target of `weight_spectrum`: each role's matrices in numbers."""

import pathlib
import sys
from typing import Any

from lalm import roles
from lalm.anatomy import matrices
from lalm.anatomy import target
from lalm.models import weights
from lalm.spectral import condition
from lalm.spectral import lapack
from lalm.spectral import marchenko_pastur
from lalm.spectral import norms
from lalm.spectral import power_law
from lalm.spectral import rank

FORM = "spectrum"
names, get = target.catalogue(roles.ALL, FORM)


def _analysis(
    point: target.Point,
    path: pathlib.Path,
    replicate: int,
    settings: target.Settings,
) -> dict[str, Any]:
  del settings  # nothing is timed
  seed = point["seed"] + replicate
  own = weights.read(path).of_role(point["mechanism"])
  return {"matrices": matrices.reports(own, seed)}


TARGET = target.Target(
    _analysis, sys.modules[__name__], matrices, condition, marchenko_pastur,
    norms, power_law, rank, lapack,
)  # fmt: skip

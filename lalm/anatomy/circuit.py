"""The target of `circuits`: what a model's heads do, by their weights alone."""

import pathlib
import sys
from typing import Any

from lalm.anatomy import heads
from lalm.anatomy import target
from lalm.models import weights
from lalm.spectral import circuits
from lalm.spectral import quadratic_forms
from lalm.spectral import rank

_HEADS = "heads"
FORM = "circuits"
names, get = target.catalogue((_HEADS,), FORM)


def _analysis(
    point: target.Point,
    path: pathlib.Path,
    replicate: int,
    settings: target.Settings,
) -> dict[str, Any]:
  del point, replicate, settings  # nothing is drawn or timed
  return {"circuits": heads.report(weights.read(path))}


TARGET = target.Target(
    _analysis, sys.modules[__name__], heads, circuits, quadratic_forms, rank
)

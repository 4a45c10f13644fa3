"""The target of `attention_spectrum`: maps of a text, and what could stand in.

Works are `maps`, what the maps and the residual stream say by themselves, and
each stand-in of `linearised`.
"""

import pathlib
import sys
from typing import Any

import jax

from lalm.anatomy import attention
from lalm.anatomy import linearised
from lalm.anatomy import subject
from lalm.anatomy import target
from lalm.data import text
from lalm.measure import approximations
from lalm.spectral import lapack
from lalm.spectral import maps
from lalm.spectral import rank
from lalm.spectral import similarity

FORM = "trained"
_MAPS = "maps"
names, get = target.catalogue((_MAPS, *linearised.NAMES), FORM)


def _analysis(
    point: target.Point,
    path: pathlib.Path,
    replicate: int,
    settings: target.Settings,
) -> dict[str, Any]:
  del settings  # nothing is timed
  seed = point["seed"] + replicate
  found = subject.read(
      path, point["corpus"], point["batch"], point["length"], seed
  )
  if point["mechanism"] == _MAPS:
    return attention.report(found.capture, found.variants)
  return linearised.report(
      point["mechanism"], found.capture(), found.causal, jax.random.key(seed)
  )


def _read(point: target.Point) -> str:
  return target.read(point, linearised.may_be_causal(point["mechanism"]))


TARGET = target.Target(
    _analysis, sys.modules[__name__], attention, linearised, subject,
    approximations, lapack, maps, rank, similarity, text, also=_read,
)  # fmt: skip

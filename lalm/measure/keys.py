"""Under which key a measurement is done, and what that key follows from.

A key changes with the point, with what is run there, with the versions and with
the machine: what was measured under another is measured anew.
"""

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from typing import Any, Mapping

from lalm.measure import environment

_DOCUMENTED = (
    ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
)  # fmt: skip


def of(
    point: Mapping[str, Any], *parts: str, machine: str | None = None
) -> str:
  """Returns 16 hexadecimal digits under which a point's measurement is done.

  They change with the point, the parts, the versions and the machine with its
  compiler flags and allocator settings.

  Args:
    point: what is measured.
    *parts: what a record follows from: programs as StableHLO, code, data.
    machine: what is told of; this one's fingerprint if None.
  """
  identity = [
      dict(point),
      hashlib.sha256("\n".join(parts).encode()).hexdigest(),
      environment.versions(),
      environment.settings(),
      environment.fingerprint() if machine is None else machine,
  ]
  text = json.dumps(identity, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def code(*parts: Any) -> str:
  """Returns what code says to the interpreter: no comments, no docstrings.

  Args:
    *parts: modules or functions of which a record follows beside the program
      that is compiled.

  Raises:
    OSError: one has no source.
  """
  return "\n".join(map(_stripped, parts))


@functools.cache  # a sweep plans hundreds of points
def _stripped(part: Any) -> str:
  tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
  for node in ast.walk(tree):
    if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False):
      node.body = node.body[1:] or [ast.Pass()]
  return ast.unparse(tree)

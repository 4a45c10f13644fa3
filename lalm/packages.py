"""Where packages are that are looked up and never imported."""

import importlib.util
import pathlib


def folder(name: str) -> pathlib.Path | None:
  """Returns the folder of an installed package, None if there is none."""
  spec = importlib.util.find_spec(name)
  places = list(spec.submodule_search_locations or ()) if spec else []
  return pathlib.Path(places[0]) if places else None

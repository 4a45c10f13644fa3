"""Linear algebra of a model's weights, in every way at hand.

Two cores take 11 minutes, of MiniLM beside all libraries.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "own"  # or minilm, or a path
  config.mechanisms = ("all",)
  config.forms = ()

  config.replicates = 3
  config.point_budget = 4.0  # seconds of a way
  config.budget = 1200.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0
  return config

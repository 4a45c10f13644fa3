"""The matrices of a model: their spectra.

Two cores take 5 s; 11 s of MiniLM.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "own"  # or minilm, or a path
  config.mechanisms = ("all",)
  config.forms = ()

  config.replicates = 1
  config.point_budget = 1.0  # seconds; nothing is timed
  config.budget = 600.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0
  return config

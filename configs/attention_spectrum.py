"""The maps of a model, and what could stand in for them.

Two cores take 70 s.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "own"  # or minilm, or a path
  config.mechanisms = ("maps", "performer", "linear", "based")
  config.forms = ()
  config.lengths = (64, 128, 256)
  config.batch = 8
  config.corpus = ""  # or news, or a path

  config.replicates = 3
  config.point_budget = 1.0  # seconds; nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0
  return config

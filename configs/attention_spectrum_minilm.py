"""The maps of MiniLM reading English, and what could stand in for them.

Two cores take ten minutes, with other work beside it.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "minilm"
  config.mechanisms = ("all",)
  config.forms = ()
  config.lengths = (64, 128, 256, 512)
  config.batch = 8
  config.corpus = "news"

  config.replicates = 3
  config.point_budget = 1.0  # seconds; nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0
  return config

"""The products of a model in a text, in 16 bits.

Two cores take 40 s; 90 s of MiniLM.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "own"  # or minilm, or a path
  config.mechanisms = ("q", "k", "v", "o", "mlp_in", "mlp_gate", "mlp_out")
  config.forms = ()
  config.lengths = (256,)
  config.batch = 8
  config.corpus = ""  # or news, or a path

  config.replicates = 3
  config.point_budget = 1.0  # seconds; nothing is timed
  config.budget = 900.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0
  return config

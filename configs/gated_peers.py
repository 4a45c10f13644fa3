"""Families with gates by this library and by others, in one run.

For `peer_comparison`, under a Python that all of them run on (jla: 3.12).
"""

from ml_collections import config_dict

from configs import peer_comparison


def get_config() -> config_dict.ConfigDict:
  """The fields of the comparison; `--help` of the experiment explains each."""
  config = peer_comparison.get_config()
  config.mechanisms = ("mamba2", "gla", "deltanet", "gated_deltanet", "kda")
  config.forms = ("lalm", "jla")
  config.lengths = (4096, 16384)
  config.budget = 1500.0  # seconds
  return config

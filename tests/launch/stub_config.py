"""A sweep of the stub: two lengths below its threshold and two above."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  config = config_dict.ConfigDict()
  config.mechanisms = ("steady",)
  config.lengths = (16, 32, 64, 128)
  config.passes = ("forward",)
  config.replicates = 3
  config.point_budget = 0.01
  config.budget = 60.0
  return config

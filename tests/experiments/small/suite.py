"""A suite that a processor will do."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  config = config_dict.ConfigDict()
  config.devices = ("cpu",)
  config.stages = (
      ("correctness", "tests/experiments/small/correctness.py", 2),
      (
          "attention_scaling",
          "tests/experiments/small/scaling.py",
          1,
          "replicates=2",
      ),
  )
  return config

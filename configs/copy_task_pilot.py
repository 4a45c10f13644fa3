"""The pilot of the copy task: linear attention, d = 64, two learning rates.

Of 2 layers; of 4 into the same DIR: --config.layers=4. And of d = 128:
--config.heads=4. Measured on a core of an AMD EPYC: 2 to 5 minutes a run.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("linear",)
  config.forms = ()  # training alone
  config.lengths = (128,)
  config.passes = ("forward_backward",)
  config.layers = 2
  config.steps = 1200
  config.rounds = 6
  config.rate = (1e-3, 3e-3)
  config.drop = 1000

  config.batch = 32
  config.heads = 2
  config.width = 32  # D = 64
  config.value_width = 32
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1
  config.point_budget = 2.0  # seconds; not used: a run takes what it takes
  config.budget = 86400.0  # seconds; what is stopped goes on
  config.allowance = 3600.0  # seconds

  config.corpus = ""  # not used: words are drawn
  config.seed = 0
  return config

"""Distance to softmax of every approximation, against its budget."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()
  config.budgets = (4, 16, 64, 256, 512, 1024)
  # The variance of FAVOR+ grows like exp(|x + y|^2) of scaled queries and keys,
  # here of norm sqrt(sharpness) K^(1/4): a narrow head, as in Performer's
  # Figure 4, and weak logits beside those of the text.
  config.sharpness = (0.25, 1.0)
  config.lengths = (1024,)
  config.passes = ("forward",)

  config.batch = 1
  config.heads = 4
  config.width = 16
  config.value_width = 16
  config.dtype = "float32"
  config.causal = False
  config.chunk = 0  # the form's own

  config.replicates = 5  # draws of features, projections and hashes
  config.point_budget = 0.01  # seconds; nothing is timed
  config.budget = 1200.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config

"""A form, timed at two lengths."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  return config_dict.ConfigDict(
      {
          "mechanisms": ("linear",),
          "lengths": (16, 32),
          "passes": ("forward",),
          "heads": 1,
          "width": 8,
          "value_width": 8,
          "replicates": 1,
          "point_budget": 0.01,
          "corpus": "normal",
      }
  )

"""A form, compared once."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  return config_dict.ConfigDict(
      {
          "mechanisms": ("linear",),
          "forms": ("chunkwise", "recurrent"),
          "lengths": (17,),
          "passes": ("forward",),
          "heads": 1,
          "width": 8,
          "replicates": 1,
          "corpus": "normal",
      }
  )

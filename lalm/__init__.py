"""The linear algebra of language models, as functions you can measure."""

__version__ = "0.1.0"

"""A module that cannot be imported."""

raise OSError("first\nsecond")

"""Language models whose mixers are any mechanisms of the catalogue."""

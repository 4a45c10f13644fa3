"""Spectra of matrices: rank so far."""

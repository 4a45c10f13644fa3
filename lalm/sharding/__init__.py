"""Sequences that are split over devices."""

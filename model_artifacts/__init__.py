"""Propensity models as they are served, and the code that makes them again."""

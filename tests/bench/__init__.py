"""Benchmarks with bounds: `python -m pytest tests/bench --benchmark-enable`. Otherwise each runs once, untimed."""

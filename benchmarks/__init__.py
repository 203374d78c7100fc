"""Benchmarks of capsynth against other ways to do the same work."""

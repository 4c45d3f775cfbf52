"""Optimization of shared weights."""

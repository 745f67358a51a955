"""Compiled triad."""

"""Compiled loops of digests."""

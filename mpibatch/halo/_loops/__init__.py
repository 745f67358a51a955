"""Compiled copies between faces and message buffers."""

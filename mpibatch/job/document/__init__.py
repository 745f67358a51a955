"""Documents that users hand in, as TOML or JSON: read within limits, checked as a whole, all mistakes told at once.

For job files, and for the profiles of sites and of machines. In order of dependency: ``lines``, where a key was
written; ``caps``, the limits; ``checks`` of single values; ``problems``, what is wrong; ``tables``, keys and what they
may be.
"""

"""Reports: what a scaling study proves, and what should not be concluded from it.

In order of dependency:

- ``statistics``: medians, intervals, a test; ``fits``: laws of scaling
- ``measures``: speed-up, efficiency, where the seconds go; ``comparison``: two studies
- ``words``: a study in words; ``findings``: what not to believe, and what to do about it
- ``tables``, ``plots``: as tables, as pictures; ``exports``, ``extrap``: for other programs, for Extra-P
- ``page``: all in one page
"""

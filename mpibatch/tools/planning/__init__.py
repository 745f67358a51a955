"""Plans: what a job will need and take on more ranks, before it runs there.

A *profile* holds a machine's numbers and what jobs cost on it. In order of dependency:

- ``machine``: the numbers; ``profile``: their file; ``halos``: which halos a job's text tells; ``work``: a job apart
  from its size
- ``traffic``: what the busiest rank sends; ``prediction``: what a job needs and takes on any number of ranks;
  ``advice``: which numbers to take, and the limit
- ``run_prediction``: predicted against measured
- ``_loops.triad``, ``measurement``: the numbers of this machine; ``samples``: small runs of a job; ``probe``: what jobs
  cost by them
"""

"""Scaling: what a job will cost on more ranks, what it did cost, and what that proves.

A *profile* holds a machine's numbers and what jobs cost on it; a *study* is a folder with the records of a job's runs
on several numbers of ranks. The parts, by what they serve, in order of dependency:

Plans, and what runs say beforehand:

- ``machine``: the profile; ``halos``: which halos a job's text tells; ``work``: a job apart from its size
- ``prediction``: what a job needs and takes on any number of ranks; ``advice``: which numbers to take, and the limit
- ``foretelling``: predicted against measured
- ``loops_triad``, ``measuring``: the numbers of this machine; ``probe``: what jobs cost on it

Studies:

- ``here``: the launcher of this machine, and what the machine is; ``study``: the folder
- ``weak``: a job that grows with the ranks; ``running``: the runs, one after another; ``batch``: the same by Slurm
- ``summary``: a study at a glance

Reports:

- ``statistics``: medians, intervals, a test; ``fits``: laws of scaling
- ``measures``: speed-up, efficiency, where the seconds go; ``comparison``: two studies
- ``wording``: a study in words; ``findings``: what not to believe, and what to do about it
- ``tables``, ``plots``: as tables, as pictures; ``exports``, ``extrap``: for other programs, for Extra-P
- ``page``: all in one page
"""

"""Scaling studies: a job on several numbers of ranks, again and again, with the records of all its runs in a folder.

In order of dependency:

- ``records``: what runs tell; ``study``: what was asked, and the runs; ``folder``: where both are kept
- ``local_machine``: the launcher of this machine, and what the machine is
- ``growth``: a job that grows with the ranks; ``runs``: the runs, one after another; ``batch``: the same by Slurm
- ``summary``: a study at a glance

What a job will take on more ranks is predicted by `mpibatch.tools.planning`; what a study proves is said by
`mpibatch.tools.report`.
"""

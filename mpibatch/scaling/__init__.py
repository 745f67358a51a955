"""Scaling: what a job will cost on more ranks, what it did cost, and what that proves.

A *study* is a folder with the records of a job's runs on several numbers of ranks (`study`). `weak` grows the job with
the ranks, `running` makes the runs by the launcher of this machine (`here`), `batch` hands them to Slurm, and `summary`
shows them at a glance.
"""

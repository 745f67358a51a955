"""Jobs for Slurm: from a job file and a site's profile to a script, its submission, and the proof that it ended well.

A script is rendered from a template (`templates/`, Jinja2) with a `Profile` (what the site wants) and a `Request`
(what the user wants). Every value that reaches it is quoted, by the rules of the line it stands on. It can be read,
edited and given to sbatch by hand; `slurm/` at the top of the repository holds each template, rendered.

What a script does besides starting the run:

- It asks for a signal some time before the time limit, and passes it on to the ranks, which save a checkpoint and
  leave with exit code 75: not done, go on later. The script then requeues the job, or submits its successor.
- It tells the ranks how many they are (``MPIBATCH_EXPECT_RANKS``): with the wrong ``--mpi=`` each would be a world of
  its own, and all would end with exit code 0.
- It trusts no launcher's exit code alone. The run leaves a completion record (``MPIBATCH_RECORD``), and the script
  asks ``mpibatch verdict`` what that, the exit code and the progress so far amount to.

The order of the modules, each knowing only those before it: `quotes`, `durations`, `software` (a room), `profiles`,
`request`, `renderer`;
`completion`, `attempts`; `commands`, `submissions`, `submission`. None needs MPI, NumPy or Jinja2 to be imported.
"""

"""Running a job: steps of a pipeline, a simulation, going on with either, progress and the account of it."""

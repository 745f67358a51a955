"""Around runs: batch scripts, doctor, plans, scaling studies and reports. None of them needs a Field."""

"""Each rank watches its own main thread, so that a job in which all wait for one another ends, and says where."""

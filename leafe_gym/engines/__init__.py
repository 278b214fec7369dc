"""Running an agent over many tasks at once, into a run folder that survives kill -9."""

"""Code environments: programs, functions and live sessions, judged in a sandbox."""

"""Code as an environment: programs, functions and live sessions, judged in a sandbox."""

"""Code of the sandbox's own processes: standard library only, imported without the package.

`bootstrap` creates the namespaces. `supervisor` runs in the first process inside them, the only
one with privileges there; `session_manager` keeps the session and its saved states for it. `worker`
is the Python session; `programs` runs programs beside it.
"""

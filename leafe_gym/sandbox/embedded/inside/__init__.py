"""What runs as processes of their own: standard library only, imported without the package.

`main` makes the namespaces, `supervisor` is the first process in them and the only one with rights
there, `worker` is the Python session, `programs` runs programs beside it.
"""

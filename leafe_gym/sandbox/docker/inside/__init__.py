"""Code that runs in the container: standard library only, sent as text, imported from memory.

It uses the supervisor, session manager and worker of `embedded`. Specific to containers are
`entrypoint`, which needs no namespaces, `file_trees`, which keeps files in memory, and
`container_supervisor`, which handles further requests.
"""

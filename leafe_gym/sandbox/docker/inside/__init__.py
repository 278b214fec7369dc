"""What runs in the container: standard library only, sent there as text and imported from memory.

It is the supervisor, session and worker of `embedded`, and what a container does otherwise:
`main` needs no namespaces, `files` keeps files in memory, `guest` has requests of its own.
"""

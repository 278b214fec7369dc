"""`embedded`: Linux namespaces without a daemon or root; snapshots take milliseconds."""

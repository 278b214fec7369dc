"""Run folders: every committed branch, safe against kill -9, readable without unpickling.

schema.py   the SQLite file: tables, checksums, opening it
writer.py   RunWriter: create, resume, extend
reader.py   RunReader: read, export
records.py  records to JSON and back
"""

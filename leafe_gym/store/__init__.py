"""Run folders: every committed branch, safe against kill -9, readable without unpickling.

records.py   records to JSON and back
run.py       the folder: create, resume, read, export
"""

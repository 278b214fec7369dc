"""From trees to trained weights (paper: Stage 2). Reads run folders; needs no environment.

records.py   a row as text, a row as tokens
"""

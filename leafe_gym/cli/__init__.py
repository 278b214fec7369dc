"""The command `leafe`.

main.py      exit codes: 0 done, 1 failed, 2 bad input, 130/143 interrupted
options.py   options that several verbs share
screen.py    writing to a terminal: strangers' text is stripped of control characters
bench.py  check.py  demo.py  explore.py  play.py  view.py   one verb each
"""

from leafe_gym.cli.main import main

__all__ = ["main"]

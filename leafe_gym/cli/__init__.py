"""The command `leafe`.

app.py        verbs, exit codes
generated.py  options from configuration classes and docstrings
models.py     options that name a model; watch.py: leafe play --watch
options.py    other options that several verbs share
screen.py     writing to a terminal; control characters of foreign text are stripped
interrupt.py  SIGINT and SIGTERM
bench.py  check.py  demo.py  explore.py  play.py  view.py  ...   one verb each
"""


def main() -> None:
    """Run the command line and exit."""
    from leafe_gym.cli.app import run

    run()

"""`python -m leafe_gym.cli` is the command `leafe`."""

from leafe_gym.cli import main

if __name__ == "__main__":
    main()

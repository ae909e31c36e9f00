"""`python -m mmbench` is the command line."""

from mmbench.cli import main

if __name__ == "__main__":
    main(prog_name="mmbench")

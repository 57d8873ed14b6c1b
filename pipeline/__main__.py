"""`python -m pipeline` is `faceline`."""

from pipeline.commands.app import main

if __name__ == "__main__":
    main()

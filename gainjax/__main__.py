"""``python -m gainjax`` runs the command ``gainjax``."""

from gainjax.cli import main

if __name__ == "__main__":
    main()

"""`python -m reference` is the command `genzoo`."""

from reference.zoo.cli import main

if __name__ == "__main__":
    main()

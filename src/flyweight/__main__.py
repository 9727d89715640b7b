"""`python -m flyweight` is `flyweight`."""

from flyweight.cli import main

if __name__ == "__main__":
    main()

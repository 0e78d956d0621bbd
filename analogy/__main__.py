"""Where the command begins: analogy, or python -m analogy."""

from .apps import process


def main() -> None:
    """Run the command. Signals are handled before anything else is loaded."""
    process.take_over()
    from .apps.cli import main

    main()


if __name__ == "__main__":
    main()

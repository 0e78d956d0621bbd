"""python -m analogy"""

from .apps.cli import main

main()

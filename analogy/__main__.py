"""python -m analogy"""

from .cli import main

main()

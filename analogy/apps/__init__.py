"""The applications: the command `analogy` and its service.

Each command has a module of its own: `transfer`, `clip`, `batch`, `serve`, `demo`, `flow`,
`models`, `info` and `completion`. The module `cli` makes one command of them. Other modules contain
what several commands share: options (`options`), a transfer from files to files (`run`), the
display of progress (`display`), the handling of signals and the exit of the process (`process`),
and the standard streams (`streams`). An application turns the arguments of a user into calls of the
library, shows progress, and prints an error as one line. A function that a user of the library
could need is in the library, not in an application.

An application may import every other part of the package except `__main__`, which is the only other
part that imports an application.
"""

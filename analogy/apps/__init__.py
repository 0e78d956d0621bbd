"""The applications: the command `analogy` and its service.

Each command has a module of its own: `transfer`, `clip`, `batch`, `serve`, `demo`, `flow`,
`models`, `info` and `completion`. The module `cli` joins them. They share their options
(`options`), a transfer from files to files (`run`), the display of progress (`display`), the
signals and the exit of the process (`process`), and the standard streams (`streams`). An
application turns the arguments of a user into calls of the library, shows progress, and prints an
error as one line. A function that a user of the library could need is in the library, not in an
application.

An application may import every other part of the package. No other part imports an application.
"""

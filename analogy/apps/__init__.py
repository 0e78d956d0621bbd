"""The applications: what people start.

Each command has a module of its own: `transfer`, `clip`, `batch`, `serve`, `demo`, `flow`,
`models`, `info` and `completion`; `cli` makes one command of them. They share their options
(`options`), one transfer from files to files (`run`), the display of progress (`display`), the
signals and the end of the process (`process`), and its standard streams (`streams`). An application
turns words, files and forms into calls of the library, shows progress, and says what went wrong in
one line. It holds nothing that a library user would miss.

May import: everything below it. Nothing imports an application.
"""

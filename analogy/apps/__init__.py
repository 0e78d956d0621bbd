"""The applications: what people start.

Here live the command (`cli`), its options (`options`), what it does for one transfer (`run`) and shows meanwhile
(`display`), its signals and its end (`process`), and its standard streams (`streams`). An application turns words, files
and requests into calls of the front hall (`analogy.engine`, `analogy.settings`, `analogy.result`), shows progress, and says
what went wrong in one line. It holds nothing that a library user would miss.

May import: everything below it. Nothing imports an application.
"""

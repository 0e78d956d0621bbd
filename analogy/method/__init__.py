"""The method of the paper: from two pictures to the nearest-neighbour fields between them, and from fields to pictures.

Here live the pair of pictures with its two sides (`pair`), the coarse-to-fine loop (`matching`) and
its parts (`features` with `sessions`, `projection`, `nnf`, `reconstruction` with `inversion`), how
a field becomes a picture (`painter`, `painting`, `seams`, `photo` with `multigrid`, `colours`), how
a user steers the matching (`guidance`, `pins`, `holding`), what can be done with a field (`flow`,
`flow_files`), whether a picture may come in (`admission`), how much memory and time a run takes
(`memory`, `costs`), and how the work on a picture is shared out (`bands`). Section numbers in this
wing are those of Liao et al. 2017.

What comes in: arrays, settings, and a backend that runs the kernels. Nothing here reads an argument
of the command line.

May import: `networks`, `pictures`, `backends`, `files`, `settings`, `progress`, `errors`.
"""

"""The method of Liao et al. 2017: it finds fields between pictures, and paints pictures from them.

    pair            given pictures of a transfer, and the directions between them
    matching        coarse-to-fine loop, which finds the fields
    features        features of the network; `sessions` loads its graphs
    projection      projection of features onto fewer channels, for the search
    nnf             search of a field; `sheets` lays several sources one below the other
    reconstruction  features of the latent pictures, by `inversion`
    uniformity      search that does not match one part of an example again and again
    guidance        label pictures; `pins` and `holding` are for matches that the user fixes
    painter         pictures from fields, by `painting` and `seams`
    photo           refinement of a result that should look like a photograph, by `multigrid`
    colours         transfer of the content's colours to a result
    flow            fields as displacements, and warped pictures; `flow_files` stores fields
    admission       checks of a picture's size, and of the free memory
    memory, costs   estimates of the memory and the time that a transfer takes
    bands           division of the work on a picture among threads

The section numbers in this package are those of that paper. A field is a nearest-neighbour field.
The package takes arrays, settings, and a backend that runs the kernels. It reads no arguments of
the command line.

May import: `networks`, `pictures`, `backends`, `files`, `settings`, `progress`, `errors`.
"""

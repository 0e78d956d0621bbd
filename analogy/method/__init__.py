"""The method of Liao et al. 2017: it finds fields between pictures, and paints pictures from them.

    pair            pair of pictures, its sides, and the directions between them
    matching        coarse-to-fine loop, which finds the fields
    features        features of the network; `sessions` loads its graphs
    projection      projection of features onto fewer channels, for the search
    nnf             search of a field; `sheets` lays several sources below each other
    reconstruction  features of the latent pictures, by `inversion`
    uniformity      search that uses the whole example
    guidance        label pictures; `pins` and `holding` are for matches that the user fixes
    painter         pictures from fields, by `painting` and `seams`
    photo           refinement of a result as a photograph, by `multigrid`
    colours         transfer of the content's colours to a result
    flow            fields as displacements, and warped pictures; `flow_files` stores fields
    admission       checks of a picture's size, and of the free memory
    memory, costs   estimates of memory and time
    bands           division of the work on a picture among threads

The section numbers in this package are those of that paper. A field is a nearest-neighbour field.
The package takes arrays, settings, and a backend that runs the kernels. It reads no arguments of
the command line.

May import: `networks`, `pictures`, `backends`, `files`, `settings`, `progress`, `errors`.
"""

"""Many transfers: from a folder or a table of jobs to a folder of pictures, over the processes of a machine or a cluster.

Here live the files wherever they are (`stores`), the jobs and the tables they come from (`jobs`), what a worker does with one
(`work`), who the workers are (`pools`), what is done (`manifest`), the loop over all jobs (`loop`), the whole of it (`run`),
and the contact sheet (`report`).

There is one code path: every job goes through `concurrent.futures.Executor.submit`, whoever is behind it. What travels there
and back are paths, settings and figures, never arrays: a worker reads and writes by itself.

May import: everything but `apps`.
"""

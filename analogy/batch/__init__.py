"""Many transfers: from a folder or a table of jobs to a folder of pictures, over the processes of a machine or a cluster.

The modules are: files on this machine and at addresses (`stores`), the jobs and the tables that
they come from (`jobs`), the names of results (`names`), the work of a worker (`work`), the workers
(`pools`), the record of what is done (`manifest`), the loop over all jobs (`loop`), a whole batch
(`run`), and the contact sheet (`report`).

There is one code path: every job goes through `concurrent.futures.Executor.submit`, for processes
and for a cluster. Requests with paths travel to the workers and figures back, never arrays: a
worker reads and writes by itself.

May import: everything but `apps`.
"""

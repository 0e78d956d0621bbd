"""Batches of many transfers, done by processes of this machine or by a cluster.

The modules handle the files on this machine and at addresses (`stores`), the jobs and their tables
(`jobs`), the Parquet tables (`parquet`), the names of results (`names`), the work of a worker
(`work`), the workers (`pools`), the record of finished jobs (`manifest`), the loop over all jobs
(`loop`), a whole batch (`run`), and the page about it (`report`).

The loop submits every job with `concurrent.futures.Executor.submit`, whether processes or a cluster
do the jobs. A worker receives a request with paths, reads and writes the files itself, and returns
a few numbers and strings. Processes never exchange arrays.

This package may import everything but `apps`.
"""

"""The limits of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on the connections, the requests, the jobs and the results of the service.

    Attributes
    ----------
    connections : int
        Maximum number of open connections. If a client opens one more, the service closes one of
        those whose client has to send or read something: the one from which it has received nothing
        for longest. At most half of the connections can receive reports on the progress of jobs.
    head_seconds : float
        Time, in seconds, within which the head of a request, a form without pictures, and the next
        part of any request must arrive.
    stall_seconds : float
        Longest time, in seconds, for which a client may read nothing of an answer.
    form_bytes : int
        Largest accepted form without pictures, in bytes.
    workers : int
        Number of worker processes. Each has a model and does one job at a time.
    queue : int
        Maximum number of jobs that wait or are arriving. The service refuses further jobs with the
        status 429.
    upload_bytes : int
        Largest accepted request with pictures, in bytes.
    upload_seconds : float
        Time, in seconds, within which a request with pictures must arrive.
    input_pixels : int
        Largest accepted number of pixels of A, and of each B'.
    reading_seconds : float
        Longest time, in seconds, that a worker may take to decode the pictures of a job.
    worker_bytes : int
        Memory, in bytes, that a worker may use in addition to the loaded model. The limit applies
        only on Linux and without a GPU.
    job_seconds : float
        Longest time, in seconds, that a job may take after its pictures are decoded.
    keep_seconds : float
        Time, in seconds, after which an ended job is removed and its results are deleted.
    keep_bytes : int
        Maximum total size of all results, in bytes. Beyond it, the oldest results are deleted.
    keep_jobs : int
        Maximum number of ended jobs that clients can ask about. Beyond it, the oldest are removed.
    """

    connections: int = 256
    head_seconds: float = 10.0
    stall_seconds: float = 30.0
    form_bytes: int = 1 << 14
    workers: int = 1
    queue: int = 16
    upload_bytes: int = 64 << 20
    upload_seconds: float = 120.0
    input_pixels: int = 20_000_000
    reading_seconds: float = 20.0
    worker_bytes: int = 4 << 30
    job_seconds: float = 600.0
    keep_seconds: float = 3600.0
    keep_bytes: int = 2 << 30
    keep_jobs: int = 1000

"""The limits of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of the service.

    Attributes
    ----------
    connections : int
        Maximum number of open connections. Another one replaces the one that has been silent for
        longest. At most half of them can follow jobs.
    head_seconds : float
        Longest time, in seconds, for the head of a request, for a form without pictures, and
        between two parts of any request.
    stall_seconds : float
        Longest time, in seconds, for which a client may read nothing of an answer.
    form_bytes : int
        Largest form without pictures, in bytes.
    workers : int
        Number of worker processes. Each has a model and does one job at a time.
    queue : int
        Maximum number of jobs that wait or are arriving. The service refuses more with 429.
    upload_bytes : int
        Largest request with pictures, in bytes.
    upload_seconds : float
        Longest time for a request with pictures, in seconds.
    input_pixels : int
        Largest picture A or B', in pixels.
    reading_seconds : float
        Longest time to decode the pictures of a job, in seconds.
    worker_bytes : int
        Memory, in bytes, that a worker may use in addition to the loaded model (on Linux).
    job_seconds : float
        Longest time of a job, in seconds.
    keep_seconds : float
        Time for which results are kept, in seconds.
    keep_bytes : int
        Largest size of all kept results, in bytes. The oldest ones are deleted first.
    keep_jobs : int
        Maximum number of jobs whose results are kept. The oldest ones are deleted first.
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

"""The bounds of the service, all in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The bounds of the service.

    connections     that are open at a time; the one that was silent for longest makes way for another.
                    Half of them may watch jobs
    head_seconds    that a client may take to send the head of a request, a form without pictures, and the next part of any
    stall_seconds   in which a client has to take something of an answer
    form_bytes      of a form without pictures
    workers         processes, each with a model, that work on one job at a time
    queue           jobs that wait or are being received; who comes then is told to come again (429)
    upload_bytes    of a whole request with pictures
    upload_seconds  that a request with pictures may take to come in
    input_pixels    of A and of each B'
    reading_seconds that the pictures of a job may take to be decoded
    worker_bytes    of memory that a worker may take on top of the loaded model (Linux)
    job_seconds     after which a job is ended
    keep_seconds, keep_bytes, keep_jobs    of results: the oldest go first
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

"""The service and its web page, which do transfers over HTTP.

`command` is the command `analogy serve`, and `service` joins all parts of the service. `server`
runs and ends uvicorn, and `connections` closes the connections of clients that send or read too
slowly. A request passes `guard` (which checks the token and the origin) and `intake` (which limits
size and time), and reaches the routes in `api`, which read their forms with `forms`. `jobs` keeps
the jobs, whose pictures and results are stored in a `folder` that no other user can read. `answers`
sends results. `pool` gives `orders` to `worker` processes, and only these decode pictures and
compute. `limits` contains the limits on connections, requests, jobs and results, `metrics` contains
the metrics for Prometheus, and `documentation` makes the page `/docs`. The folder `static` contains
the page as plain HTML, CSS and JavaScript. README.md explains how to run the service for others.

The service needs the extra `web` (FastAPI, uvicorn).
"""

"""The service, and its page: HTTP in, pictures out.

`command` is the command `analogy serve`; `service` puts its parts together; `server` runs uvicorn
and ends it, and `connections` ends those of clients who keep it waiting. A request comes through
`guard` (who may ask) and `intake` (how much may come in) to `api` (the routes), whose forms `forms`
reads. `jobs` keeps what was asked for (`orders`) and what came of it, in the `folder` that no other
user can read; `answers` sends it; `pool` hands the orders to `worker` processes, which alone decode
pictures and compute. `limits` are the bounds of all this, `metrics` counts it, and `documentation`
makes the page `/docs`. `static` holds the page, plain HTML, CSS and JavaScript, as it is sent.
README.md is for whoever runs the service for others.

Needs the extra `web` (FastAPI, uvicorn).
"""

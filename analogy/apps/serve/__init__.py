"""The service, and its page: HTTP in, pictures out.

`command` is the command `analogy serve`; `server` runs uvicorn and ends it. A request comes through `guard` (who may ask)
and `intake` (how much may come in) to `api` (the routes), whose forms `forms` reads. `jobs` keeps what was asked for and
what came of it; `pool` hands it to `worker` processes, which alone decode pictures and compute. `limits` are the bounds of
all this, `metrics` counts it. `static` holds the page, plain HTML, CSS and JavaScript, as it is sent.

Needs the extra `web` (FastAPI, uvicorn).
"""

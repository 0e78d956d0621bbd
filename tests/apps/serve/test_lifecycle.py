"""The start and the end of the service, its token, and requests that it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LONG, png

from analogy.apps.serve.jobs import Jobs
from analogy.apps.serve.limits import Limits
from analogy.request import Request


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_at_the_end_running_jobs_finish_and_the_number_of_dropped_ones_is_logged(serve) -> None:
    own = serve()
    running = own.begin(png(300, 300), png(300, 300, 1), {"search_iterations": 8})
    own.until(running, "running")
    waiting = [own.begin(png(300, 300), png(300, 300)) for _ in range(2)]
    events = own.events(running)
    next(events)
    dropped = own.events(waiting[0])
    next(dropped)
    assert own.process.poll() is None
    own.process.send_signal(signal.SIGTERM)
    assert list(events)[-1]["state"] == "done"
    last = list(dropped)[-1]
    assert (last["state"], last["error"]) == ("failed", "the service is being shut down; try again later")
    assert own.process.wait(30) == 128 + signal.SIGTERM
    own.close()
    assert "the service is ending: it lets 1 running job finish, and drops 2 waiting jobs" in own.log
    assert "the service has ended; it dropped 2 jobs" in own.log
    assert "Traceback" not in own.log
    assert list(own.folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_job_that_does_not_finish_in_time_is_dropped(serve) -> None:
    own = serve("--grace", "0.2")
    own.until(own.begin(png(512, 512), png(512, 512, 1), LONG), "running")
    children = own.worker()
    assert own.end() == 128 + signal.SIGTERM
    assert "the service has ended; it dropped 1 job" in own.log
    assert not children.is_running()


def test_a_service_deletes_the_folder_of_a_killed_one(serve) -> None:
    first = serve()
    first.until(first.begin(png(32, 32), png(32, 32)), "done")
    worker = first.worker()
    first.close()
    worker.wait(20)  # the worker ends, since its service was killed
    [left] = first.folder.glob("analogy-serve-*")
    serve()
    [own] = first.folder.glob("analogy-serve-*")
    assert own != left
    serve()
    assert own.is_dir()  # a second service does not delete the folder of a running one
    assert len(list(first.folder.glob("analogy-serve-*"))) == 2


def test_a_service_with_a_token_refuses_requests_without_it(serve) -> None:
    own = serve("--host", "0.0.0.0", token="open sesame")
    assert "everybody who can reach" not in own.log
    assert own.post("/v1/transfer", png(32, 32), png(32, 32)).status_code == 401
    for path in ("/metrics", "/v1/settings", "/v1/openapi.json", "/v1/jobs/x"):
        assert own.http.get(own.url + path, timeout=30).status_code == 401
    assert own.http.get(f"{own.url}/health", timeout=30).status_code == 200
    assert own.http.get(f"{own.url}/", timeout=30).url.endswith("/sign-in")
    wrong = own.http.post(f"{own.url}/sign-in", data={"token": "guess"}, timeout=30)
    assert wrong.url.endswith("/sign-in?wrong")
    complaint = '<p class="error" role="alert">This is not the token of this service.'
    assert complaint in wrong.text
    assert complaint not in own.http.get(f"{own.url}/sign-in", timeout=30).text
    bearer = {"authorization": "Bearer open sesame"}
    assert own.http.get(f"{own.url}/v1/settings", headers=bearer, timeout=30).status_code == 200
    origin = {"origin": own.url}  # a browser sends it with a form
    signed_in = own.http.post(f"{own.url}/sign-in", data={"token": "open sesame"}, headers=origin, timeout=30)
    assert signed_in.url == f"{own.url}/"
    assert own.http.get(f"{own.url}/v1/settings", timeout=30).status_code == 200  # by the cookie


def test_listening_to_other_machines_without_a_token_logs_a_warning(serve) -> None:
    own = serve("--host", "0.0.0.0")
    own.end()
    assert "everybody who can reach this machine can use the service" in own.log


@pytest.mark.parametrize(
    "headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}, {"host": ""}]
)
def test_requests_from_pages_of_other_origins_are_refused(service, headers) -> None:
    answer = service.http.post(f"{service.url}/v1/transfer", headers=headers, timeout=30)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert (
        service.http.get(f"{service.url}/v1/settings", headers={"origin": service.url}, timeout=30).status_code == 200
    )


def test_a_port_in_use_gives_one_line_and_exit_code_2(service) -> None:
    port = service.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "analogy", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"analogy: cannot listen on 127.0.0.1:{port} (")
    assert len(done.stderr.splitlines()) == 1


def test_without_the_extra_the_command_names_the_package_to_install() -> None:
    code = "import sys; sys.modules['fastapi'] = None; sys.argv = ['analogy', 'serve']; "
    code += "import analogy.__main__ as m; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'pip install "deep-image-analogy[cpu,web]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def finished(jobs: Jobs, size: int):
    job = jobs.new(Request("a", "b_prime"))
    (job.folder / "in" / "a").write_bytes(b"a")
    (job.folder / "out" / "a_prime.png").write_bytes(bytes(size))
    jobs.add(job)
    jobs.end(job, "done")
    return job


def test_results_beyond_a_size_a_number_or_an_age_are_deleted_oldest_first(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, Limits(keep_bytes=250, keep_jobs=3))
    made = [finished(jobs, 100) for _ in range(3)]
    assert [jobs.get(job.id) is job for job in made] == [False, True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(job.id for job in made[1:])
    assert not (made[1].folder / "in").exists()
    many = [finished(jobs, 0) for _ in range(3)]
    assert [jobs.get(job.id) is job for job in made + many] == [False, False, False, True, True, True]
    old = Jobs(tmp_path, Limits(keep_seconds=0.05))
    job = finished(old, 1)
    assert old.get(job.id)
    time.sleep(0.1)
    old.sweep()
    assert old.get(job.id) is None

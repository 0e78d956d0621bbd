"""A network whose sessions are made by a test."""

from __future__ import annotations

from typing import Any

from analogy.method.sessions import Sessions, Shapes


class FixedSession(Sessions):
    """Sessions of a network of which each graph has the session of the test, whatever its name."""

    def __init__(self, session: Any):
        self._session = session

    def get(self, graph: str, shapes: Shapes) -> Any:
        return self._session

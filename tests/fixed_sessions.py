"""Sessions of a network that tests use in place of those of ONNX Runtime."""

from __future__ import annotations

from typing import Any

from analogy.method.sessions import Sessions, Shapes


class FixedSession(Sessions):
    """Sessions of a network in which every graph gets the one session that a test gives."""

    def __init__(self, session: Any):
        self._session = session

    def get(self, graph: str, shapes: Shapes) -> Any:
        return self._session

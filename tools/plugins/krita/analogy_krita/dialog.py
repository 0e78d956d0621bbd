"""The window of the plug-in, in which the user chooses layers and labels and sees the progress."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from krita import Krita
from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtWidgets import (
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
)

from .layers import Layer, LayerError, add_above, all_layers, label_pictures
from .pixels import layer_pixels
from .service import ADDRESS, Service, ServiceError
from .work import Work

_SETTINGS = {
    "weight": "Shapes of the layer (3: most)",
    "ratio": "Bigger shapes (below 1)",
    "uniformity": "How much of the looks",
}
"""Name of a setting that the window shows -> its label. The preset decides all other settings."""
_AS_THE_PRESET = "as the preset has it"
_FILE, _NO_LABELS = "A file...", "no labels"
_POLL_MS = 100
"""Interval at which the window polls the work in the other thread, in milliseconds."""


class Dialog(QDialog):
    """The window of the plug-in for one layer. It does not block Krita."""

    def __init__(self, layer: Layer, parent: Any = None):
        super().__init__(parent)
        self.setWindowTitle("Looks of another picture")
        self.setAttribute(Qt.WA_DeleteOnClose)
        self.setMinimumWidth(560)
        self.work: Work | None = None
        self._then: Any = None
        self._widgets: dict[str, Any] = {}
        self.layer, app = layer, Krita.instance()
        layers = list(all_layers(app.documents()))

        self._address = QLineEdit(app.readSetting("analogy", "address", ADDRESS))
        self._connect = QPushButton("Connect")
        self._looks = QComboBox()
        self._looks.addItem(_FILE, None)
        for each in layers:
            if each.node != layer.node:
                self._looks.addItem(each.words, each)
        self._path = QLineEdit()
        self._path.setPlaceholderText("JPEG, PNG, WebP, TIFF, BMP or GIF")
        self._browse = QPushButton("Choose...")
        groups = [each for each in layers if each.is_group]
        self._labels = [self._group_box(groups), self._group_box(groups)]
        self._preset = QComboBox()
        self._bar, self._message = QProgressBar(), QLabel()
        self._bar.setRange(0, 1000)
        self._message.setWordWrap(True)
        self._make, self._close = QPushButton("Make a new layer"), QPushButton("Close")
        self._make.setDefault(True)
        self._lay_out()

        self._connect.clicked.connect(self.connect_to_service)
        self._browse.clicked.connect(self._choose_file)
        self._looks.currentIndexChanged.connect(self._enable)
        self._make.clicked.connect(self.make)
        self._close.clicked.connect(self._cancel_or_close)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self._enable()
        self.connect_to_service()

    def connect_to_service(self) -> None:
        """Request the presets and settings of the service, and show them."""
        try:
            service = self._service()
        except ServiceError as error:
            self._message.setText(str(error))
            return
        self._start(lambda step, cancelled: service.settings(), self._show_settings)

    def make(self) -> None:
        """Read the layers, and start a thread that lets the service make the picture."""
        try:
            service = self._service()
            pictures = self._pictures()
        except (LayerError, ServiceError) as error:
            self._message.setText(str(error))
            return
        fields, part, other = self._fields(), self.layer.rectangle(), self._looks.currentData()
        looks = other.node.name() if other else Path(self._path.text()).name
        name = f"{self.layer.node.name()} in the looks of {looks}"
        Krita.instance().writeSetting("analogy", "address", service.address)
        self._start(
            lambda step, cancelled: service.make(pictures, fields, step, cancelled),
            lambda png: self._add_layer(png, name, (part.x, part.y)),
        )

    def choose_looks(self, path: str = "", layer_name: str = "") -> None:
        """Select the looks: the file at `path`, or the first layer with the name `layer_name`."""
        index = 0
        for place in range(1, self._looks.count()):
            if layer_name and self._looks.itemData(place).node.name() == layer_name:
                index = place
                break
        self._looks.setCurrentIndex(index)
        self._path.setText(path)

    def choose_labels(self, of_layer: str, of_looks: str) -> None:
        """Select both label groups by their names."""
        for box, name in ((self._labels[0], of_layer), (self._labels[1], of_looks)):
            for place in range(1, box.count()):
                if box.itemData(place).node.name() == name:
                    box.setCurrentIndex(place)

    @property
    def message(self) -> str:
        """The message below the progress bar."""
        return self._message.text()

    def reject(self) -> None:
        """Close the window (Escape does so, too), and cancel the running work."""
        if self.work:
            self.work.cancel()
        self._timer.stop()
        super().reject()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Layer to change", QLabel(self.layer.words))
        form.addRow("In the looks of", self._looks)
        form.addRow("File", self._row(self._path, self._browse))
        form.addRow("Labels of the layer", self._labels[0])
        form.addRow("Labels of the looks", self._labels[1])
        form.addRow("Service", self._row(self._address, self._connect))
        form.addRow("Preset", self._preset)
        self._form = form
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addWidget(self._bar)
        whole.addWidget(self._message)
        whole.addLayout(self._row(self._make, self._close))

    @staticmethod
    def _row(*widgets: Any) -> QHBoxLayout:
        row = QHBoxLayout()
        for each in widgets:
            row.addWidget(each)
        return row

    @staticmethod
    def _group_box(groups: list[Layer]) -> QComboBox:
        box = QComboBox()
        box.setToolTip("A group with one layer for each region. Regions of the same name in both groups match.")
        box.addItem(_NO_LABELS, None)
        for each in groups:
            box.addItem(each.words, each)
        return box

    def _service(self) -> Service:
        return Service(self._address.text(), os.environ.get("ANALOGY_TOKEN", ""))

    def _show_settings(self, answer: dict[str, Any]) -> None:
        """Show the presets and the settings of the service."""
        self._preset.clear()
        for preset in answer["presets"]:
            self._preset.addItem(f"{preset['name']}: {preset['help']}", preset["name"])
        for setting in answer["settings"]:
            if setting["name"] in _SETTINGS and setting["name"] not in self._widgets:
                widget = _widget_of(setting)
                widget.setToolTip(setting["help"])
                self._widgets[setting["name"]] = widget
                self._form.addRow(_SETTINGS[setting["name"]], widget)
        self._message.setText(f"Connected to analogy {answer['version']}.")
        self._enable()

    def _pictures(self) -> dict[str, bytes]:
        """Return name of a field of the form -> content of the file to send.

        Raises `LayerError` if a file cannot be read, or cannot be made from a layer.
        """
        other, labels = self._looks.currentData(), [box.currentData() for box in self._labels]
        if (labels[0] is None) != (labels[1] is None):
            raise LayerError("Labels need two groups; choose one for the layer and one for the looks, or none.")
        if labels[0] is not None and other is None:
            raise LayerError("Labels work only if the looks are a layer; open the file in Krita, and choose its layer.")
        self.layer.document.waitForDone()
        pictures = {"a": self.layer.png(), "b_prime": self._file() if other is None else other.png()}
        if labels[0] is not None:
            pictures["mask_a"], pictures["mask_b"] = label_pictures(self.layer, labels[0], other, labels[1])
        return pictures

    def _file(self) -> bytes:
        path = self._path.text()
        if not path:
            raise LayerError("No file is chosen; choose the picture whose looks the layer should get.")
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise LayerError(f"The file {path} cannot be read ({error.strerror}); choose another.") from None

    def _fields(self) -> dict[str, str]:
        """Return the preset, and the settings that override it, as fields of the form."""
        fields = {"preset": self._preset.currentData()} if self._preset.currentData() else {}
        for name, widget in self._widgets.items():
            if isinstance(widget, QDoubleSpinBox):
                if widget.value() > widget.minimum():
                    fields[name] = repr(round(widget.value(), 2))
            elif widget.currentData() is not None:
                fields[name] = str(widget.currentData())
        return fields

    def _add_layer(self, png: bytes, name: str, corner: tuple[int, int]) -> None:
        layer = self.layer
        if layer.document not in Krita.instance().documents():
            raise LayerError("The document was closed before the picture was made; nothing was changed.")
        width, height, pixels = layer_pixels(png, layer.bits())
        add_above(layer, name, corner, (width, height), pixels)
        self._message.setText(f"The new layer is '{name}'.")

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "The picture whose looks the layer should get")
        if path:
            self.choose_looks(path)

    def _start(self, do: Any, then: Any) -> None:
        """Run `do` in another thread, then call `then` with its result in the window's thread."""
        self._message.setText("")
        self.work, self._then = Work(do), then
        self._timer.start(_POLL_MS)
        self._enable()

    def _poll(self) -> None:
        """Show the progress of the work, and its outcome once it has ended."""
        work = self.work
        assert work is not None
        words, share = work.now
        self._bar.setValue(round(1000 * share))
        self._bar.setFormat(words)
        if not work.ended:
            return
        self._timer.stop()
        self.work = None
        self._bar.reset()
        if work.problem:
            self._message.setText(work.problem)
        elif work.result is None:
            self._message.setText("Cancelled; nothing was changed.")
        else:
            try:
                self._then(work.result)
            except (LayerError, ValueError) as error:
                self._message.setText(str(error))
        self._enable()

    def _cancel_or_close(self) -> None:
        if self.work:
            self.work.cancel()
        else:
            self.reject()

    def _enable(self) -> None:
        """Enable the controls that can be used now, and disable the others."""
        busy = self.work is not None
        self._make.setEnabled(not busy)
        self._connect.setEnabled(not busy)
        self._close.setText("Cancel" if busy else "Close")
        for each in (self._path, self._browse):
            each.setEnabled(self._looks.currentData() is None)


def _widget_of(setting: dict[str, Any]) -> Any:
    """Return a widget for a setting of the service, which first shows that the preset decides."""
    if setting["choices"]:
        box = QComboBox()
        box.addItem(_AS_THE_PRESET, None)
        for choice in setting["choices"]:
            box.addItem(str(choice), choice)
        return box
    spin = QDoubleSpinBox()
    spin.setDecimals(2)
    spin.setSingleStep(0.05)
    spin.setRange(setting["low"] - 0.05, setting["high"])  # the lowest value means "as the preset has it"
    spin.setSpecialValueText(_AS_THE_PRESET)
    spin.setValue(spin.minimum())
    return spin

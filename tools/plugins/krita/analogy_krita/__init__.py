"""A plug-in for Krita: a layer in the looks of a file or of another layer, as a new layer.

The pictures are made by the service that `analogy serve` starts, so that Krita's own Python needs
no package. The modules `pixels` and `service` use the standard library alone, `layers` uses objects
of Krita, and `dialog` is the window. All of them keep to Python 3.8, which Krita's own builds
bring.
"""

from krita import Extension, Krita


class AnalogyExtension(Extension):
    """The menu entry of the plug-in, in each of Krita's windows."""

    def setup(self):
        """Do nothing: the window is made when it is asked for."""

    def createActions(self, window):
        """Add the menu entry to a window, below Tools > Scripts."""
        action = window.createAction("analogy_looks", "Give this layer other looks...", "tools/scripts")
        action.triggered.connect(self.show)

    def show(self):
        """Show the plug-in's window for the layer that is active now."""
        from PyQt5.QtWidgets import QMessageBox  # not earlier, as it would make Krita start later

        from .dialog import Dialog
        from .layers import Layer

        document, window = Krita.instance().activeDocument(), Krita.instance().activeWindow()
        parent = window.qwindow() if window else None
        node = document.activeNode() if document else None
        if node is None:
            QMessageBox.information(
                parent, "analogy", "No layer is active; open a picture, and choose the layer to change."
            )
            return
        self.dialog = Dialog(Layer(document, node), parent)
        self.dialog.show()


Krita.instance().addExtension(AnalogyExtension(Krita.instance()))

"""A plug-in for Krita that gives a layer the looks of a file or of another layer, as a new layer.

The service that `analogy serve` starts makes the pictures, so that Krita's own Python needs no
package. The modules `service` and `work` use only the standard library, `pixels` also uses Qt to
read PNG files, `layers` uses Krita's objects, and `dialog` is the window. All modules run on Python
3.8, which Krita's own builds contain.
"""

from krita import Extension, Krita


class AnalogyExtension(Extension):
    """The menu entry of the plug-in, in each of Krita's windows."""

    def setup(self):
        """Do nothing, since the window is made only when the user opens it."""

    def createActions(self, window):
        """Add the menu entry to a window, in Tools > Scripts."""
        action = window.createAction("analogy_looks", "Give this layer other looks...", "tools/scripts")
        action.triggered.connect(self.show)

    def show(self):
        """Show the plug-in's window for the active layer."""
        from PyQt5.QtWidgets import QMessageBox  # at the top, this import would delay Krita's start

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

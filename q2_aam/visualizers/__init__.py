"""Visualizers: pages that show models, predictions and histories."""


def register(plugin):
    """Register every visualizer with the plugin object; there is none yet."""

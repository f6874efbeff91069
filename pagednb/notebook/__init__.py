"""IPython extension: magics and display. The only place that imports IPython."""

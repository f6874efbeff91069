"""Text of a model, drawn: markdown as sanitised HTML, whole or while it streams; thoughts apart from answers.

Model text is untrusted. What leaves this room is inert: no script, no remote image, no style, no id, no class that is
not ours (``pnb-``). Plain functions and classes over ``str``; knows no engine, no widget, no notebook.
"""

"""Which pagednb this is; the package's ``__version__``, where modules of the package can read it."""

VERSION = "0.1.0"

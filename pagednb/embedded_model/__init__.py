"""The tiny chat model that ships with the package, and everything needed to make it again."""

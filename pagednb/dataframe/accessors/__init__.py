"""The verbs as methods: classes for frames and series, and how libraries get them."""

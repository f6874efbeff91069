"""Tools: how they are put to a model, and how calls are read from what it writes."""

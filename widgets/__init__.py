"""Widgets for notebooks: thin views of plain models that live elsewhere, and that they are handed."""

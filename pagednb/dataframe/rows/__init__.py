"""The rows that a verb works on, of pandas or of any library that narwhals knows."""

"""Many rows to one answer within a budget of tokens, group by group. For ``agg``."""

"""``df.llm``: verbs over pandas frames and series. The only place that imports pandas."""

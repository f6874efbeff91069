"""pagednb: a language-model engine that lives inside a notebook kernel."""

"""What a row says to the model: templates, order, sample, cuts, and how it looks before anything is sent."""

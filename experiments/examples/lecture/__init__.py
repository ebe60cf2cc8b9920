"""A lecture on generative models: twelve systems in the order of a course, each trained here."""

"""The page, by tab. What it shows is computed in `residae`; here are layout, wiring and words."""

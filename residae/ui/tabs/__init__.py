"""The tabs of the page, a file for each."""

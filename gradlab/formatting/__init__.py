"""Numbers, titles and rows as text and as HTML."""

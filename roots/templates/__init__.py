"""Jinja2 templates of the data cards; `roots.card` fills them."""

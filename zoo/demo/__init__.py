"""``zoo demo``: a page in the browser to try an engine on a picture or a clip."""

"""What goes wrong between mux and an authority, apart from the client of one, whose libraries take long to load."""


class AuthorityError(Exception):
    """The authority gave no certificate; one sentence for people."""

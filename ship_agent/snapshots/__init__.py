"""An attendee's changes on their way to the mux, and back onto another ship."""

"""Every process of a mux killed, alone and in pairs: what an attendee sees, for how long, and what is so afterwards."""

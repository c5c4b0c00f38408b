"""Who may enter: roster, codes and passwords, login, sessions, tokens. No HTTP here; `mux.web` calls it."""

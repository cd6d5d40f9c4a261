"""Drawing: style, panels, film, and the writing of figures and tables of any kind."""

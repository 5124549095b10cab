"""Everything a run is: frozen values and the arithmetic that follows from them."""

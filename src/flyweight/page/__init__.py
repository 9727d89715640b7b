"""One self-contained web page of a trained net: draw, see the answer, look inside."""

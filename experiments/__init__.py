"""One script per question; `python3 -m experiments` lists them."""

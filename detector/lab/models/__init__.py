"""The models that the lab fits to a part of a file: how each is built, fitted and asked. `catalog` lists them."""

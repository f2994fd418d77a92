"""Configuration of this repository's own tests: the plugin itself is installed as everybody's is."""

pytest_plugins = ["pytester"]

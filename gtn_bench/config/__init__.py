"""Configuration: descriptions, suites, strict YAML, threat models, errors."""

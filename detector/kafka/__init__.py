"""Shell: Kafka. The loop, exactly once, and the embedded broker of demo and tests."""

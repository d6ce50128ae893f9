"""From a config to a trained state: setup, optimizer, feed, step, loop, evaluation."""

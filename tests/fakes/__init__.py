"""Stand-ins for hardware that compute what the hardware would, and check how they are called."""

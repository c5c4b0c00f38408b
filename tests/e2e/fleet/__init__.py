"""A mux with provider ec2, as people start it, against the strict fake, whose instances are agents of this machine."""

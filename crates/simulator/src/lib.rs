//! Simulated datacentre.

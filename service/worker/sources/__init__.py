"""From the pictures that jobs begin with to what is known of their codes."""

"""What is asked and answered: request bodies, jobs and models as callers see them."""

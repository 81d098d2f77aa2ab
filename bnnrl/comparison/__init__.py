"""Methods compared over seeds: runs in processes of their own or on Ray, their results and statistics."""

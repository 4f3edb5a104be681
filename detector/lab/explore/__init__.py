"""`detector lab explore`: what a table holds, seen before anything is configured."""

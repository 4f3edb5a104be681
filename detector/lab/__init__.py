"""Work on files with the core that runs live: replay, and the quality of what it decides."""

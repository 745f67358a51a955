"""Who may read and write what this process makes, whose files it believes, and what records may tell."""

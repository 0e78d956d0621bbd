"""Files and folders, whatever is in them.

Here live reading within bounds (`inputs`), files that appear whole or not at all (`atomic`), the folders that are one run's
(`folders`, `locks`), what a killed run leaves (`temporary`), which paths are one file (`places`), where the user's own files
are kept (`user_cache`), and tables as spreadsheets and shells write them (`text_tables`).

May import: `errors`.
"""

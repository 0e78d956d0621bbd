"""Reading and writing of files and folders, whatever they contain.

`inputs` reads plain files, and refuses pipes and devices. `atomic` writes files and folders that
appear only when they are complete. `folders` makes folders for results and protects the files in
them, `manifests` reads their manifests, and `exchange` replaces the results of one run by those of
the next.
`temporary` makes temporary files and folders, and finds those that a killed run left. `locks`
prevents two runs from working in one folder at the same time. `places` finds out which paths lead
to the same file, `user_cache` finds the user's cache folder, and `text_tables` reads tables that
spreadsheets or PowerShell have written.

These modules may import `errors`.
"""

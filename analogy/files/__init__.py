"""Files and folders of any content.

`inputs` reads files up to a size limit, and `atomic` writes files and folders that appear whole or
not at all. `folders` makes folders for results and protects the files in them, `manifests` reads
their manifests, and `exchange` replaces the results of one run by those of the next. `temporary`
makes temporary files and folders, and finds those that a killed run left; `locks` keeps two runs
apart. `places` finds out which paths lead to one file, `user_cache` finds the user's cache folder,
and `text_tables` reads tables as spreadsheets and shells write them.

These modules may import `errors`.
"""

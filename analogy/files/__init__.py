"""Files and folders, whatever is in them.

`inputs` reads files within bounds, and `atomic` writes files and folders that appear whole or not
at all. `folders` makes folders for results and guards what is in them, `manifests` reads what they
record, and `exchange` replaces the results of one run by those of the next. `temporary` makes
temporary files and folders, of which the next run deletes what a killed one left; `locks` keeps two
runs apart. `places` tells which paths lead to one file, `user_cache` where the files of a user are
kept, and `text_tables` reads tables as spreadsheets and shells write them.

May import: `errors`.
"""

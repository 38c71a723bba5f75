"""The report of a run: a page and a table, made from the files that the stages wrote."""
